import { KmsError } from '../errors.ts';
import type { KeysetProvider } from '../keyset/keyset-source.ts';
import type { RemoteKekProvider } from '../service/local-kek/remote-kek.ts';
import { schemeOf } from '../keyset/keyset-source.ts';
import { barbicanProvider } from './barbican/index.ts';
import { fileProvider } from './file/index.ts';
import { k8sSecretProvider } from './k8s-secret/index.ts';
import { pkcs11Provider } from './pkcs11/provider.ts';

export type Provider = KeysetProvider | RemoteKekProvider;

/** All key stores. A new one is a file or folder here, a line in this list, and a call of its shared suite. */
export const providers: readonly Provider[] = [fileProvider, barbicanProvider, k8sSecretProvider, pkcs11Provider];

/** @throws {@link KmsError} `ERR_KMS_INVALID_URI` for an unknown scheme */
export function providerFor(uri: string): Provider {
  const scheme = schemeOf(uri);
  const provider = providers.find((candidate) => candidate.scheme === scheme);
  if (provider) return provider;
  const known = providers.map((candidate) => `${candidate.scheme}:`).join(', ');
  throw new KmsError('ERR_KMS_INVALID_URI', `no key store for ${scheme}: URIs; known schemes: ${known}`);
}
