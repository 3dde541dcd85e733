import { localKekOptions } from '../../service/local-kek/settings.ts';
import type { RemoteKekProvider } from '../../service/local-kek/remote-kek.ts';
import type { SharedResources } from '../../util/shared-resources.ts';
import { Pkcs11Kek } from './pkcs11-kek.ts';
import { pkcs11Settings } from './settings.ts';
import type { Pkcs11Settings } from './settings.ts';
import { parsePkcs11Uri } from './uri.ts';

/** `pkcs11:` (RFC 7512): a key in an HSM or TPM, which never leaves it. */
export const pkcs11Provider = {
  kind: 'remote-kek',
  scheme: 'pkcs11',
  settings: pkcs11Settings,
  check(uri: string, settings: Pkcs11Settings): void {
    parsePkcs11Uri(uri);
    localKekOptions(settings);
  },
  open(uri: string, settings: Pkcs11Settings, shared: SharedResources): Pkcs11Kek {
    return new Pkcs11Kek(parsePkcs11Uri(uri), settings, shared);
  },
} satisfies RemoteKekProvider<typeof pkcs11Settings>;
