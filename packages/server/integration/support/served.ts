import { cpSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { seed } from './calls.ts';
import { doctor } from './doctor.ts';
import type { RunningPlugin, TestSite } from './running-plugin.ts';
import { eventually, withClient } from './running-plugin.ts';

const plaintext = seed();

interface Served {
  readonly plugin: RunningPlugin;
  readonly keyId: string;
  readonly directory: string;
  /** What was encrypted before still opens, and doctor has nothing to do. */
  readonly healed: () => Promise<void>;
}

/** A plugin with one key, something encrypted, and another node with the same keyset. */
export async function served(site: TestSite, head?: string): Promise<Served> {
  const keyId = site.generate('main');
  const directory = site.path('keys/main');
  site.writeConfig([site.instance('main')], head);
  const plugin = await site.serve([], 'key loaded');
  const sealed = await withClient(site.socket('main'), (client) => client.encrypt(plaintext, 'before'));
  onOtherNode(site);
  const healed = async (): Promise<void> => {
    await eventually(() => {
      const { code, stdout } = doctor(site);
      assert.is(code, 0, stdout);
      assert.match(stdout, 'Nothing to do');
    });
    await withClient(site.socket('main'), async (client) => {
      assert.equal(await client.decrypt(sealed.ciphertext, sealed.keyId, 'after'), plaintext);
    });
  };
  return { plugin, keyId, directory, healed };
}

/** Makes the keyset of the other node that of this one. */
export function onOtherNode(site: TestSite): void {
  cpSync(site.path('keys'), site.path('node', site.path('keys')), { recursive: true });
}

/** What a printed command has in place of the other node. */
export const nodeOf = (site: TestSite) => ({ 'NODE:': site.path('node') });
