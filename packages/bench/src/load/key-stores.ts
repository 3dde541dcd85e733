import { launcher } from '@teapot-kms/testing/daemons';
import type { OpenStack, Token } from '@teapot-kms/testing/daemons';
import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** A key store that holds a key, as configured in an instance of the plugin. */
export interface KeyStore {
  readonly keys: Readonly<Record<string, unknown>>;
  /** Environment variables that the plugin needs. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Creates a keyset directory with a key. @param directory - for the files, as in the other functions; created if missing */
export function fileKeys(directory: string): Promise<KeyStore> {
  return withKey(directory, { keys: { uri: `file:${join(directory, 'keyset')}` } });
}

/** Creates a key in a PKCS#11 token. */
export function tokenKeys(directory: string, { label, module, pinFile, env }: Token): Promise<KeyStore> {
  const uri = `pkcs11:token=${label};object=kek?module-path=${module}&pin-source=file:${pinFile}`;
  const keys = { uri, keyset: join(directory, 'keyset'), stateDirectory: join(directory, 'pin-state') };
  return withKey(directory, { keys, env });
}

/** Creates a key in Barbican. */
export function barbicanKeys(directory: string, { keystoneUrl, state }: OpenStack): Promise<KeyStore> {
  const { id, secret } = state.application_credential;
  const cloudConfig = join(directory, 'cloud.conf');
  const lines = [
    '[Global]',
    `auth-url=${keystoneUrl}`,
    `application-credential-id=${id}`,
    `application-credential-secret=${secret}`,
  ];
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  writeFileSync(cloudConfig, `${lines.join('\n')}\n`, { mode: 0o600 });
  return withKey(directory, { keys: { uri: `barbican:${join(directory, 'keyset')}`, cloudConfig } });
}

/** Generates the first key with the CLI, as an operator does. */
async function withKey(directory: string, store: KeyStore): Promise<KeyStore> {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const config = join(directory, 'keys.yaml');
  const instances = [{ name: 'main', socket: join(directory, 'nobody.sock'), keys: store.keys }];
  writeFileSync(config, JSON.stringify({ version: 1, instances }), { mode: 0o600 });
  const args = ['keys', 'generate', '--config', config, '--instance', 'main'];
  await promisify(execFile)(launcher(), args, { env: { ...process.env, ...store.env } });
  return store;
}
