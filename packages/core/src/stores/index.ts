import { KmsError } from '../errors.ts';
import { shownUri } from '../util/shown-uri.ts';
import type { KeysetProvider } from '../keyset/keyset-source.ts';
import type { RemoteKekProvider } from '../service/local-kek/remote-kek.ts';
import { barbicanProvider } from './barbican/index.ts';
import { fileProvider } from './file/index.ts';
import { k8sSecretProvider } from './k8s-secret/index.ts';
import { pkcs11Provider } from './pkcs11/provider.ts';

export type Provider = KeysetProvider | RemoteKekProvider;

/** All key stores. A new one is a file or folder here, a line in this list, and a call of its shared suite. */
export const providers: readonly Provider[] = [fileProvider, barbicanProvider, k8sSecretProvider, pkcs11Provider];

/**
 * The key store of a URI's scheme, for example `file` of `file:/etc/teapot-kms/keys`.
 * @throws {@link KmsError} `ERR_KMS_INVALID_URI` without a known scheme
 */
export function providerFor(uri: string): Provider {
  const scheme = /^([a-z][a-z0-9-]*):/.exec(uri)?.[1];
  if (scheme === undefined) {
    throw new KmsError('ERR_KMS_INVALID_URI', `expected a key URI such as file:/path, found ${shownUri(uri)}`);
  }
  const provider = providers.find((candidate) => candidate.scheme === scheme);
  if (provider) return provider;
  const known = providers.map((candidate) => `${candidate.scheme}:`).join(', ');
  throw new KmsError('ERR_KMS_INVALID_URI', `no key store for ${scheme}: URIs; known schemes: ${known}`);
}
