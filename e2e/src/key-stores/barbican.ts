import { missingOpenStack, OpenStack } from '@teapot-kms/testing/daemons';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KeyStore, KeyStoreFixture } from '../key-store-fixture.ts';
import { spawnTeapot, teapot } from '../teapot-cli.ts';

interface KeysOutput {
  readonly primary: string;
  readonly generated?: string;
  readonly keys: readonly { readonly id: string; readonly secret: string }[];
}

/** Says so, and ends the test file, where OpenStack is not installed. */
export function skipWithoutOpenStack(): void {
  const missing = missingOpenStack();
  if (missing === undefined) return;
  console.log(`SKIPPED end-to-end tests on OpenStack Barbican: ${missing}`);
  process.exit(0);
}

/** Keys in a real Barbican; manifest and cloud.conf on the host. One OpenStack for all stores that are open. */
export function barbicanKeyStore(crypto: 'simple' | 'p11'): KeyStore {
  let shared: Promise<OpenStack> | undefined;
  let users = 0;
  return {
    name: crypto === 'simple' ? 'barbican' : `barbican-${crypto}`,
    maxOverheadBytes: 160,
    async open(directory) {
      users++;
      shared ??= OpenStack.start(join(mkdtempSync(join(tmpdir(), 'teapot-os-')), 'cloud'), { crypto, tokenCache: 300 });
      const openStack = await shared;
      return openStore(directory, openStack, async () => {
        if (--users > 0) return;
        await openStack.stop();
        rmSync(join(openStack.directory, '..'), { recursive: true, force: true });
      });
    },
  };
}

/** A `cloud.conf` with the application credential that the plugin has. */
export function cloudConf({ keystoneUrl, state }: OpenStack, more = ''): string {
  const { id, secret } = state.application_credential;
  return `[Global]\nauth-url=${keystoneUrl}\napplication-credential-id=${id}\napplication-credential-secret=${secret}\n${more}`;
}

/** The bytes of a secret. */
export async function payloadOf(openStack: OpenStack, secret: string): Promise<Buffer> {
  const token = await openStack.admin.token('kms', openStack.state.passwords.kms, 'kms');
  const headers = { 'x-auth-token': token, accept: 'application/octet-stream' };
  const answer = await fetch(`${openStack.barbicanUrl}/v1/secrets/${secret}/payload`, { headers });
  if (!answer.ok) throw new Error(`secret ${secret}: ${answer.status}`);
  return Buffer.from(await answer.arrayBuffer());
}

async function openStore(
  directory: string,
  openStack: OpenStack,
  release: () => Promise<void>,
): Promise<KeyStoreFixture> {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const cloudConfig = join(directory, 'cloud.conf');
  writeFileSync(cloudConfig, cloudConf(openStack), { mode: 0o600 });
  const uri = `barbican:${join(directory, 'keyset')}`;
  const where = ['--uri', uri, '--cloud-config', cloudConfig];
  const keys = async (command: string, ...args: readonly string[]): Promise<KeysOutput> =>
    JSON.parse(await teapot(['keys', command, ...where, '--output', 'json', ...args])) as KeysOutput;
  let away = false;
  let died = 0;
  await keys('generate');
  return {
    keys: { uri, cloudConfig },
    primary: async () => (await keys('list')).primary,
    async rotate() {
      const { generated } = await keys('generate');
      if (generated === undefined) throw new Error('"keys generate" did not say which key it made');
      await keys('promote', generated, '--unverified');
      return generated;
    },
    async retire(keyId) {
      await keys('retire', keyId, '--unverified');
    },
    async takeAway() {
      await openStack.stopBarbican();
      away = true;
      return async () => {
        await openStack.startBarbican();
        away = false;
      };
    },
    async addKeyAndDie() {
      const writer = spawnTeapot(['keys', 'generate', ...where]);
      const ended = new Promise((resolve) => writer.once('exit', resolve));
      // The start takes about half a second, the requests as long again.
      setTimeout(() => writer.kill('SIGKILL'), 400 + 100 * (died++ % 6));
      await ended;
    },
    async secrets() {
      // A scenario that failed may have left it stopped.
      if (away) await openStack.startBarbican();
      const { application_credential: credential } = openStack.state;
      const found: Buffer[] = [Buffer.from(credential.secret)];
      for (const { secret } of (await keys('list')).keys) found.push(await payloadOf(openStack, secret));
      return found;
    },
    dispose: release,
  };
}
