// How many plaintexts a dump of the plugin's memory would give away after their calls (design D12). The plugin is a
// process of its own: this one knows the plaintexts, to look for them.
import { figure, occurrences, rememberSecret, writableMemory } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { EncryptResult } from '@teapot-kms/core';
import type { KmsClient } from '../src/client/client.ts';
import { TestSite, withClient } from './support/running-plugin.ts';

const SEEDS = 200;
const SEED_BYTES = 32;
/** All seeds begin with this, so that one search finds them. */
const MARK = randomBytes(8);

const test = suite('plaintexts in memory');
const site = new TestSite();

test.before(() => {
  site.generate('a');
  site.writeConfig([site.instance('a', 'transport: h2')]);
});
test.after(() => site.remove());

function newSeed(): Buffer {
  const bytes = Buffer.concat([MARK, randomBytes(SEED_BYTES - MARK.length)]);
  rememberSecret(bytes);
  return bytes;
}

/** How many of the seeds are in the memory of a process. */
function found(pid: number, seeds: readonly Buffer[]): number {
  const wanted = new Set(seeds.map((one) => one.toString('hex')));
  const socket = Buffer.from(site.socket('a'));
  const seen = new Set<string>();
  let searches = false;
  for (const content of writableMemory(pid)) {
    searches ||= content.includes(socket);
    for (const at of occurrences(content, MARK)) seen.add(content.toString('hex', at, at + SEED_BYTES));
  }
  assert.ok(searches, 'the search finds what is there');
  return [...wanted].filter((one) => seen.has(one)).length;
}

/** Starts a plugin, lets `use` call it, and returns how many of the seeds are in its memory while the connection is open. */
async function leftAfter(seeds: readonly Buffer[], use: (client: KmsClient) => Promise<void>): Promise<number> {
  const plugin = await site.serve();
  try {
    return await withClient(site.socket('a'), async (client) => {
      await use(client);
      return found(plugin.process.pid!, seeds);
    });
  } finally {
    await plugin.kill('SIGTERM');
  }
}

const oneByOne = async (calls: readonly (() => Promise<unknown>)[]): Promise<void> => {
  for (const call of calls) await call();
};
const atOnce = async (calls: readonly (() => Promise<unknown>)[]): Promise<void> => {
  await Promise.all(calls.map((call) => call()));
};

for (const [how, run] of [
  ['one after the other', oneByOne],
  ['at once', atOnce],
] as const) {
  test(`seeds in memory after ${SEEDS} Encrypts and ${SEEDS} Decrypts, ${how}`, async () => {
    const seeds = Array.from({ length: SEEDS }, newSeed);
    const sealed: EncryptResult[] = [];
    const encrypted = await leftAfter(seeds, (client) =>
      run(seeds.map((one, n) => async () => (sealed[n] = await client.encrypt(one, `uid-${n}`)))),
    );
    const decrypted = await leftAfter(seeds, (client) =>
      run(
        sealed.map(({ ciphertext, keyId }, n) => async () => {
          assert.equal(await client.decrypt(ciphertext, keyId, `uid-${n}`), seeds[n]);
        }),
      ),
    );
    figure(`seeds of ${SEEDS} in memory after Encrypt, ${how}`, encrypted);
    figure(`seeds of ${SEEDS} in memory after Decrypt, ${how}`, decrypted);
  });
}

test.run();
