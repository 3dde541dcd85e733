import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, watch } from 'node:fs';
import { once } from 'node:events';
import { join } from 'node:path';
import type { KeyStore, KeyStoreFixture } from '../key-store-fixture.ts';
import { spawnTeapot, teapot } from '../teapot-cli.ts';

/** A keyset directory on the host, changed by nothing but `teapot-kms keys`. */
export const fileKeyStore: KeyStore = { name: 'file', maxOverheadBytes: 160, open };

interface KeysOutput {
  readonly primary: string;
  readonly generated?: string;
}

/** Changes of the directory that one `keys generate` makes, about; the writer is killed at one of the first so many. */
const STEPS = 8;

async function open(directory: string): Promise<KeyStoreFixture> {
  const keyset = join(directory, 'keyset');
  const uri = `file:${keyset}`;
  const keys = async (command: string, ...args: readonly string[]): Promise<KeysOutput> =>
    JSON.parse(await teapot('keys', command, '--uri', uri, '--output', 'json', ...args)) as KeysOutput;
  let step = 0;
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  await keys('generate');
  return {
    keys: { uri },
    primary: async () => (await keys('list')).primary,
    async rotate() {
      const { generated } = await keys('generate');
      if (generated === undefined) throw new Error('"keys generate" did not say which key it made');
      await keys('promote', generated, '--now');
      return generated;
    },
    async retire(keyId) {
      await keys('retire', keyId);
    },
    takeAway() {
      renameSync(keyset, `${keyset}.away`);
      return Promise.resolve(() => {
        renameSync(`${keyset}.away`, keyset);
        return Promise.resolve();
      });
    },
    async addKeyAndDie() {
      const writer = spawnTeapot('keys', 'generate', '--uri', uri);
      let changes = 0;
      const dieAt = 1 + (step++ % STEPS);
      const watcher = watch(keyset, () => {
        if (++changes === dieAt) writer.kill('SIGKILL');
      });
      await once(writer, 'exit');
      watcher.close();
    },
    secrets() {
      // A scenario that failed may have left it where it moved it to; a dead writer leaves temporary names.
      const directory = existsSync(keyset) ? keyset : `${keyset}.away`;
      const blobs = readdirSync(directory).filter((name) => name.includes('.key'));
      // One that died before it wrote has left an empty file, which every log contains.
      const keys = blobs.map((name) => readFileSync(join(directory, name))).filter((key) => key.length > 0);
      return Promise.resolve(keys);
    },
    dispose: () => Promise.resolve(),
  };
}
