import type { Token } from '@teapot-kms/testing/daemons';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { KeyStoreFixture } from '../key-store-fixture.ts';
import { managedKeys } from './managed-keys.ts';

/** A key in a PKCS#11 token, changed by nothing but `teapot-kms keys`. */
export async function tokenFixture(
  token: Token,
  own: Pick<KeyStoreFixture, 'takeAway' | 'dispose'>,
  settings: Readonly<Record<string, unknown>> = {},
): Promise<KeyStoreFixture> {
  const { directory, env, label, module, pin, pinFile } = token;
  const keyset = join(directory, 'keyset');
  const keys = {
    uri: `pkcs11:token=${label};object=kek?module-path=${module}&pin-source=file:${pinFile}`,
    keyset,
    stateDirectory: join(directory, 'pin-state'),
    ...settings,
  };
  // The settings beside the URI can only be given in a configuration.
  const config = join(directory, 'keys.yaml');
  const instances = [{ name: 'main', socket: join(directory, 'nobody.sock'), keys }];
  writeFileSync(config, JSON.stringify({ version: 1, instances }), { mode: 0o600 });
  return {
    keys,
    env,
    ...(await managedKeys({ store: ['--config', config, '--instance', 'main'], keyset, env })),
    secrets: () => Promise.resolve([Buffer.from(pin)]),
    ...own,
  };
}
