// Load while one call in a hundred fails at random: nothing wrong is answered, and nothing piles up.
// 20 s; 10 minutes with TEAPOT_TEST_FULL=1.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { figure, until } from '@teapot-kms/test-parts';
import type { Shim } from '@teapot-kms/test-parts';
import { test } from 'uvu';
import { KmsError } from '../../src/errors.ts';
import { LocalKekService } from '../../src/local-kek/local-kek-service.ts';
import { sealedKey, shimmedToken } from './support/rig.ts';
import type { SealedKey } from './support/rig.ts';
import { collectReports, newDirectory, newKek, openKek, patient } from './support/tokens.ts';
import type { KekOptions } from './support/tokens.ts';

const SECONDS = process.env['TEAPOT_TEST_FULL'] === '1' ? 600 : 20;
const SESSIONS = 4;
const MAX_GROWTH_MB = 32;

/** In the order of: what a token says for a lost session, a lost connection, and trouble of its own. */
const FAULTS = {
  C_OpenSession: 'random 10 0x31 C_OpenSession',
  C_UnwrapKey: 'random 10 0x6 C_UnwrapKey',
  C_CreateObject: 'random 10 0x31 C_CreateObject',
  others: [
    'random 10 0x30 C_Decrypt C_WrapKey',
    'random 10 0xb3 C_DecryptInit C_EncryptInit',
    'random 10 0x5 C_Encrypt',
    'random 10 0x32 C_FindObjectsInit C_FindObjects',
    'random 10 0x6 C_GetAttributeValue C_GetSessionInfo',
  ],
} as const;

class Load {
  readonly #service: LocalKekService;
  readonly #key: SealedKey;
  good = 0;
  readonly failures = new Map<string, number>();

  constructor(shim: Shim, key: SealedKey, shared: KekOptions['shared'] & object) {
    const settings = { sessions: SESSIONS, stateDirectory: join(newDirectory(), 'state') };
    const remote = openKek({ token: shim, directory: key.directory, label: key.label, shared, settings });
    // Nearly nothing is cached, and a new local KEK is made each second.
    this.#service = new LocalKekService({ remote, cacheEntries: 2, probeIntervalMs: 300, softAgeMs: 1_000 });
    this.#key = key;
    this.#service.start();
  }

  get counters(): Readonly<Record<string, number>> {
    return this.#service.describe().counters;
  }

  async run(end: number): Promise<void> {
    const { envelopes } = this.#key;
    for (let i = 0; performance.now() < end; i++) {
      await this.#once(envelopes[i % envelopes.length]!);
      if (i % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  async #once({ ciphertext, keyId, plaintext }: SealedKey['envelopes'][number]): Promise<void> {
    try {
      const opened = await this.#service.decrypt({ ciphertext, keyId }, patient());
      assert.ok(opened.equals(plaintext), 'a wrong plaintext');
      this.good++;
    } catch (error) {
      if (!(error instanceof KmsError)) throw error;
      const name = error.code === 'ERR_KMS_STORE_UNAVAILABLE' ? error.code : `${error.code}: ${error.message}`;
      this.failures.set(name, (this.failures.get(name) ?? 0) + 1);
    }
  }

  close(): Promise<void> {
    return this.#service.close();
  }
}

/** MB of memory that a process has now. */
function rssOf(pid: number): number {
  const [, kB] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${String(pid)}/status`, 'utf8'))!;
  return Number(kB) / 1024;
}

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;

/** Medians of the second and the last quarter: in the first everything is compiled and grows. */
function growth(values: readonly number[]): { from: number; to: number } {
  const quarter = Math.floor(values.length / 4);
  return { from: median(values.slice(quarter, 2 * quarter)), to: median(values.slice(-quarter)) };
}

const parts = await shimmedToken('endurance with faults on SoftHSM2');
if (parts) {
  const { shim } = parts;
  test(`${String(SECONDS)} s of load with 1 % of the calls failing`, async () => {
    const makeKek = (options: KekOptions) =>
      newKek({ ...options, settings: { sessions: 1, mechanism: 'aes-key-wrap' } });
    const keys = [await sealedKey(shim, 50), await sealedKey(shim, 50, makeKek)];
    const { shared, reports } = collectReports();
    shim.resetCounters();
    const loads = keys.map((key) => new Load(shim, key, shared));
    for (const load of loads) await load.run(performance.now() + 200);
    const started = reports.find((report) => report.type === 'token-host-started');
    assert.ok(started?.pid);
    const hostPid = started.pid;
    for (const load of loads) assert.equal(load.failures.size, 0);

    shim.orders(FAULTS.C_OpenSession, FAULTS.C_UnwrapKey, FAULTS.C_CreateObject, ...FAULTS.others);
    const memory = { plugin: [] as number[], host: [] as number[] };
    const sampling = setInterval(
      () => {
        (globalThis as { gc?: () => void }).gc?.();
        memory.plugin.push(rssOf(process.pid));
        memory.host.push(rssOf(hostPid));
      },
      (SECONDS * 1_000) / 80,
    );
    const end = performance.now() + SECONDS * 1_000;
    await Promise.all([...loads, ...loads].map((load) => load.run(end)));
    clearInterval(sampling);

    assert.equal(loads[0]!.counters['token_host_starts'], 1, JSON.stringify(reports));
    const worked = (name: 'C_OpenSession' | 'C_UnwrapKey' | 'C_CreateObject') =>
      shim.calls(name) - shim.fired(FAULTS[name]);
    const fired = Object.values(FAULTS)
      .flat()
      .reduce((sum, order) => sum + shim.fired(order), 0);
    const opened = worked('C_OpenSession');
    // A probe may just have opened one, and not closed the old one yet.
    const sessions = await until('all sessions but one for each thread are closed', () => {
      const open = worked('C_OpenSession') - shim.calls('C_CloseSession');
      return open <= SESSIONS && open;
    });
    const objects = worked('C_UnwrapKey') + worked('C_CreateObject') - shim.calls('C_DestroyObject');
    const good = loads.reduce((sum, load) => sum + load.good, 0);
    const failures = loads.flatMap((load) => [...load.failures]);
    figure('endurance: Decrypts', `${String(good)} in ${String(SECONDS)} s, 0 wrong`);
    figure('endurance: faults injected', fired);
    figure(
      'endurance: Decrypts that failed',
      failures.map(([, times]) => times).reduce((a, b) => a + b, 0),
    );
    figure('endurance: sessions opened anew, open at the end', `${String(opened)}, ${String(sessions)}`);
    figure('endurance: objects left in the token', objects);
    for (const [who, values] of Object.entries(memory)) {
      const { from, to } = growth(values);
      figure(`endurance: memory of the ${who}`, `${from.toFixed(0)} MB, at the end ${to.toFixed(0)} MB`);
      assert.ok(to - from < MAX_GROWTH_MB, `the ${who} has grown by ${(to - from).toFixed(0)} MB`);
    }
    assert.ok(fired > 100, `${String(fired)} faults`);
    assert.deepEqual(
      failures.filter(([code]) => code !== 'ERR_KMS_STORE_UNAVAILABLE'),
      [],
    );
    assert.equal(objects, 0);

    shim.clear();
    for (const load of loads) {
      load.failures.clear();
      await load.run(performance.now() + 300);
      assert.equal(load.failures.size, 0, 'all is well again at once');
    }
    await Promise.all(loads.map((load) => load.close()));
  });
}

test.run();
