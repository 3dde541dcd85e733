// What a dump of the plugin's memory would give away (design D12). The plugin is a process of its own: this one knows
// the secrets, to look for them.
import type { SoftHsm } from '@teapot-kms/testing/daemons';
import { figure, occurrences, rememberSecret, writableMemory } from '@teapot-kms/testing';
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import { decodeEnvelope } from '../../src/envelope/codec.ts';
import { sealedKey, shimmedToken } from './support/rig.ts';
import type { SealedKey } from './support/rig.ts';
import type { ToMemoryChild } from './support/memory-child.ts';
import { importedKek, newDirectory, openKek, patient, uriOf } from './support/tokens.ts';

const KEYS = 6;
const CACHED = 2;

/** How often each of these byte strings is in the memory of a process. */
function search(pid: number, needles: readonly Buffer[]): number[] {
  const found = needles.map(() => 0);
  for (const content of writableMemory(pid)) {
    for (const [index, needle] of needles.entries()) found[index]! += [...occurrences(content, needle)].length;
  }
  return found;
}

/** The local KEKs themselves, which only somebody who may use the token can know. */
async function localKeksOf(token: SoftHsm, { directory, label, keyId, envelopes }: SealedKey): Promise<Buffer[]> {
  const kek = openKek({ token, directory, label, settings: { sessions: 1 } });
  const keys: Buffer[] = [];
  for (const { ciphertext } of envelopes) {
    const key = await kek.unwrap(keyId, Buffer.from(decodeEnvelope(ciphertext).wrapped), patient());
    rememberSecret(key.expose());
    keys.push(key.expose());
  }
  await kek.close();
  return keys;
}

async function ask(child: ChildProcess, message: ToMemoryChild | 'close'): Promise<{ hostPid: number }> {
  const answer = once(child, 'message') as Promise<[{ hostPid: number }]>;
  child.send(message);
  return (await answer)[0];
}

const parts = await shimmedToken('what is in memory beside SoftHSM2');
if (parts) {
  const { softHsm } = parts;

  test('after load the plugin holds neither the KEK nor the PIN, of local KEKs those that are cached, and after close none', async () => {
    const kek = randomBytes(32);
    const key = await sealedKey(softHsm, KEYS, (options) => importedKek(options, kek));
    const localKeks = await localKeksOf(softHsm, key);
    const child = fork(join(import.meta.dirname, 'support/memory-child.ts'), {
      execArgv: ['--conditions=teapot-source'],
    });
    const none = (keys: number) => Array<number>(keys).fill(0);
    try {
      const stateDirectory = join(newDirectory(), 'state');
      const { hostPid } = await ask(child, {
        uri: uriOf(softHsm, key.label),
        settings: { keyset: join(key.directory, 'keyset'), stateDirectory, sessions: 1 },
        cacheEntries: CACHED,
        ciphertexts: key.envelopes.map(({ ciphertext }) => ciphertext.toString('base64')),
      });
      const pins = [Buffer.from(softHsm.pin), Buffer.from(softHsm.pin, 'utf16le')];
      const counts = (pid: number) => {
        const [label, pin, widePin, theKek, ...local] = search(pid, [
          Buffer.from(key.label),
          ...pins,
          kek,
          ...localKeks,
        ]);
        assert.ok(label! > 0, 'the search finds what is there');
        return { pin: pin! + widePin!, kek: theKek!, evicted: local.slice(0, -CACHED), cached: local.slice(-CACHED) };
      };

      const used = counts(child.pid!);
      assert.equal(used.pin, 0, 'the PIN');
      assert.equal(used.kek, 0, 'the KEK');
      assert.deepEqual(used.evicted, none(KEYS - CACHED), 'local KEKs that are not cached');
      assert.ok(
        used.cached.every((times) => times > 0),
        'cached ones are found, so the search would find others',
      );

      // SoftHSM2 is software, and the binding takes the PIN as a string, which nobody can wipe.
      const host = counts(hostPid);
      figure('token host with SoftHSM2: copies of the PIN in memory', host.pin);
      figure('token host with SoftHSM2: copies of the KEK in memory', host.kek);
      assert.deepEqual([...host.evicted, ...host.cached], none(KEYS), 'local KEKs in the token host');

      assert.match(readFileSync(`/proc/${String(hostPid)}/limits`, 'utf8'), /^Max core file size +0 +0 /m);

      await ask(child, 'close');
      const closed = counts(child.pid!);
      assert.deepEqual(closed, { pin: 0, kek: 0, evicted: none(KEYS - CACHED), cached: none(CACHED) });
      assert.throws(() => process.kill(hostPid, 0), { code: 'ESRCH' }, 'the token host and all that it held is gone');
    } finally {
      child.kill('SIGKILL');
    }
  });
}

test.run();
