import { cpSync } from 'node:fs';
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import { seed } from './calls.ts';
import { doctor } from './doctor.ts';
import type { RunningPlugin } from './running-plugin.ts';
import { eventually, TestSite, withClient } from './running-plugin.ts';

const plaintext = seed();

export interface Served {
  readonly site: TestSite;
  plugin: RunningPlugin;
  readonly keyId: string;
  readonly directory: string;
  /** Opens what was encrypted before. @param at - the site and the instance */
  readonly opens: (at?: TestSite, name?: string) => Promise<void>;
  /** What was encrypted before still opens, and doctor has nothing to do. @param name - of the instance that has the keys now */
  readonly healed: (name?: string) => Promise<void>;
  /** Ends the plugin, does something, and starts it again. @param until - as in {@link TestSite.serve} */
  readonly restart: (meanwhile?: () => void, until?: string) => Promise<void>;
}

interface ServedOptions {
  /** The first lines of the configuration. */
  readonly head?: string;
  /** A keyset directory that is copied. Default: a new keyset. */
  readonly keyset?: string;
}

/** A plugin with one key, something encrypted, and another node with the same keyset. */
export async function served(site: TestSite, { head, keyset }: ServedOptions = {}): Promise<Served> {
  const directory = site.path('keys/main');
  if (keyset === undefined) site.generate('main');
  else cpSync(keyset, directory, { recursive: true });
  site.writeConfig([site.instance('main')], head);
  const plugin = await site.serve([], 'key loaded');
  const sealed = await withClient(site.socket('main'), (client) => client.encrypt(plaintext, 'before'));
  onOtherNode(site);
  const opens = (at = site, name = 'main'): Promise<void> =>
    withClient(at.socket(name), async (client) => {
      assert.equal(await client.decrypt(sealed.ciphertext, sealed.keyId, 'after'), plaintext);
    });
  const healed = async (name = 'main'): Promise<void> => {
    // The plugin is asked first: that takes no process.
    await withClient(site.socket(name), (client) =>
      eventually(async () => {
        const { warnings, hints } = (await client.describe()) as { warnings: string[]; hints: string[] };
        assert.equal([...warnings, ...hints], []);
      }),
    );
    await eventually(() => {
      const { code, stdout } = doctor(site);
      assert.is(code, 0, stdout);
      assert.match(stdout, 'Nothing to do');
    });
    await opens(site, name);
  };
  const restart = async (meanwhile = (): void => undefined, until = 'key loaded'): Promise<void> => {
    await site.stopAll();
    meanwhile();
    made.plugin = await site.serve([], until);
  };
  const made: Served = { site, plugin, keyId: sealed.keyId, directory, opens, healed, restart };
  return made;
}

/** One plugin for all tests of a suite that heal it. After a test that fails, there is another one. */
export class CommonPlugin {
  readonly #suite: Test<{ site: TestSite }>;
  #served: Served | undefined;

  constructor(suite: Test<{ site: TestSite }>) {
    this.#suite = suite;
    suite.after(() => this.#served?.site.remove());
  }

  /** @param work - leaves the plugin healed */
  test(name: string, work: (served: Served) => Promise<void>): void {
    this.#suite(name, async () => {
      const common = this.#served ?? (await served(new TestSite()));
      this.#served = undefined;
      try {
        await work(common);
        this.#served = common;
      } finally {
        if (this.#served === undefined) await common.site.remove();
      }
    });
  }
}

/** Makes the keyset of the other node that of this one. */
export function onOtherNode(site: TestSite): void {
  cpSync(site.path('keys'), site.path('node', site.path('keys')), { recursive: true });
}

/** What a printed command has in place of the other node. */
export const nodeOf = (site: TestSite) => ({ 'NODE:': site.path('node') });
