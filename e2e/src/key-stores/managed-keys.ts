import { once } from 'node:events';
import { watch } from 'node:fs';
import type { KeyStoreFixture } from '../key-store-fixture.ts';
import { spawnTeapot, teapot } from '../teapot-cli.ts';
import type { Env } from '../teapot-cli.ts';

interface KeysOutput {
  readonly primary: string;
  readonly generated?: string;
}

export interface ManagedKeysOptions {
  /** Options that name the store for `teapot-kms keys`: `--uri …`, or `--config …`. */
  readonly store: readonly string[];
  /** Where keyset.yaml is. */
  readonly keyset: string;
  readonly env?: Env;
}

/** About how many changes of the directory one `keys generate` makes; the writer is killed at one of them. */
const STEPS = 8;

/** What a fixture does to its keys, by nothing but `teapot-kms keys`. Makes the first one. */
export async function managedKeys({
  store,
  keyset,
  env = {},
}: ManagedKeysOptions): Promise<Required<Pick<KeyStoreFixture, 'primary' | 'rotate' | 'retire' | 'addKeyAndDie'>>> {
  const keys = async (command: string, ...args: readonly string[]): Promise<KeysOutput> =>
    JSON.parse(await teapot(['keys', command, ...store, '--output', 'json', ...args], env)) as KeysOutput;
  let step = 0;
  await keys('generate');
  return {
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
    async addKeyAndDie() {
      const writer = spawnTeapot(['keys', 'generate', ...store], env);
      let changes = 0;
      const dieAt = 1 + (step++ % STEPS);
      const watcher = watch(keyset, () => {
        if (++changes === dieAt) writer.kill('SIGKILL');
      });
      await once(writer, 'exit');
      watcher.close();
    },
  };
}
