// Load on a token that fails now and then: nothing is wrong, nothing grows.
import type { Shim } from '@teapot-kms/testing/daemons';
import { figure, fullRun } from '@teapot-kms/testing';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import { KmsError } from '../../src/errors.ts';
import { LocalKekService } from '../../src/service/local-kek/local-kek-service.ts';
import type { Pkcs11Kek } from '../../src/stores/pkcs11/pkcs11-kek.ts';
import { CKR, seal, shimmedToken } from './support/rig.ts';
import type { Sealed } from './support/rig.ts';
import { collectReports, newDirectory, newKek, openKek } from './support/tokens.ts';

const DURATION_MS = fullRun ? 10 * 60_000 : 12_000;
if (!fullRun)
  console.log('only with TEAPOT_TEST_FULL=1, as it takes minutes: ten minutes of faults; 12 s of it are run');

/** ms of load before memory is looked at: V8's young generation grows to its size first. */
const WARM_UP_MS = 5_000;

/** Envelopes that are opened in turn; far more keys than the cache may hold, so nearly each Decrypt goes to the token. */
const KEYS = 200;
const CACHE_ENTRIES = 10;
const WORKERS = 4;

/** One call in a hundred, and all kinds of failure; also of the calls that make sessions and objects. */
const failing = (ckr: number, ...functions: string[]): string[] =>
  functions.map((name) => `random 10 ${String(ckr)} ${name}`);
const FAULTS = [
  ...failing(CKR.deviceError, 'C_Decrypt', 'C_Encrypt'),
  ...failing(CKR.sessionHandleInvalid, 'C_DecryptInit', 'C_EncryptInit', 'C_WrapKey', 'C_UnwrapKey'),
  ...failing(CKR.functionFailed, 'C_FindObjectsInit', 'C_CreateObject', 'C_GetAttributeValue'),
  ...failing(CKR.deviceRemoved, 'C_OpenSession', 'C_GetTokenInfo'),
];

const EXPECTED = new Set(['ERR_KMS_STORE_UNAVAILABLE', 'ERR_KMS_DEADLINE_EXCEEDED']);

interface Sample {
  readonly ownMb: number;
  readonly hostMb: number;
  readonly sessions: number;
  readonly objects: number;
  readonly objectsMade: number;
}

const token = await shimmedToken('endurance of the token host');
if (token) register(token.shim);

function register(shim: Shim): void {
  for (const mechanism of ['aes-gcm', 'aes-key-wrap-pad'] as const) {
    test(`${mechanism}: faults at random, no wrong answer, and sessions, objects and memory stay flat`, async () => {
      shim.clear();
      const { shared, reports } = collectReports();
      const options = {
        token: shim,
        directory: newDirectory(),
        shared,
        label: mechanism,
        settings: { mechanism, sessions: 2 },
      };
      const sealed = await prepare(await newKek(options));
      shim.resetCounters();
      const service = new LocalKekService({
        remote: openKek(options),
        cacheEntries: CACHE_ENTRIES,
        probeIntervalMs: 1_000,
      });
      service.start();
      await seal(service);
      shim.orders(...FAULTS);
      const outcome = { opened: 0, refused: 0 };
      const until = performance.now() + WARM_UP_MS + DURATION_MS / 2;
      const load = Array.from({ length: WORKERS }, (_, worker) => open(service, sealed, worker, until, outcome));
      await sleep(WARM_UP_MS);
      const hostPid = () => reports.findLast((event) => event.type === 'token-host-started')?.pid;
      const samples = await sampleUntil(until, shim, hostPid);
      await Promise.all(load);
      shim.clear();
      await open(service, sealed, 0, performance.now() + 100, outcome);
      report(mechanism, outcome, samples, service, reports.filter((event) => event.type === 'token-host-ended').length);
      await service.close();
      assert.ok(outcome.opened > 100, `only ${String(outcome.opened)} Decrypts`);
      assert.ok(
        outcome.refused < outcome.opened / 100,
        `${String(outcome.refused)} of ${String(outcome.opened)} refused`,
      );
      flat(samples);
    });
  }
}

/** Each under a local KEK of its own. */
async function prepare(remote: Pkcs11Kek): Promise<Sealed[]> {
  const service = new LocalKekService({ remote, direct: true });
  service.start();
  const sealed = await Promise.all(Array.from({ length: KEYS }, () => seal(service)));
  await service.close();
  return sealed;
}

async function open(
  service: LocalKekService,
  sealed: readonly Sealed[],
  worker: number,
  until: number,
  outcome: { opened: number; refused: number },
): Promise<void> {
  for (let next = worker; performance.now() < until; next += WORKERS) {
    const one = sealed[next % KEYS]!;
    try {
      const plaintext = await service.decrypt(one, { signal: AbortSignal.timeout(30_000) });
      assert.ok(plaintext.equals(one.plaintext), 'a wrong plaintext');
      outcome.opened++;
    } catch (error) {
      if (!(error instanceof KmsError) || !EXPECTED.has(error.code)) throw error;
      outcome.refused++;
    }
  }
}

async function sampleUntil(until: number, shim: Shim, hostPid: () => number | undefined): Promise<Sample[]> {
  const samples: Sample[] = [];
  while (performance.now() < until) {
    await sleep(DURATION_MS / 60);
    const done = (name: string) =>
      shim.calls(name) -
      FAULTS.filter((order) => order.endsWith(` ${name}`)).reduce((sum, order) => sum + shim.fired(order), 0);
    const objectsMade = done('C_CreateObject') + done('C_UnwrapKey');
    samples.push({
      ownMb: rssMb(process.pid),
      hostMb: rssMb(hostPid()),
      sessions: done('C_OpenSession') - done('C_CloseSession'),
      objects: objectsMade - done('C_DestroyObject'),
      objectsMade,
    });
  }
  return samples;
}

function rssMb(pid: number | undefined): number {
  try {
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${String(pid)}/status`, 'utf8'))?.[1]) / 1024;
  } catch {
    // Between two lives of the token host.
    return 0;
  }
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;

function thirds(samples: readonly Sample[], field: keyof Sample): [number, number] {
  const third = Math.ceil(samples.length / 3);
  const values = samples.map((sample) => sample[field]);
  return [median(values.slice(0, third)), median(values.slice(-third))];
}

function report(
  mechanism: string,
  outcome: { opened: number; refused: number },
  samples: readonly Sample[],
  service: LocalKekService,
  hostEnds: number,
): void {
  const { counters } = service.describe();
  const minutes = (DURATION_MS / 2 / 60_000).toFixed(1);
  figure(`${mechanism}, ${minutes} min of faults at random: Decrypts right`, outcome.opened);
  figure(`${mechanism}: Decrypts refused (wrong: 0)`, outcome.refused);
  figure(
    `${mechanism}: sessions opened, token hosts ended`,
    `${String(counters['token_sessions_opened'])}, ${String(hostEnds)}`,
  );
  for (const [field, unit] of [
    ['sessions', ''],
    ['objects', ''],
    ['ownMb', ' MB'],
    ['hostMb', ' MB'],
  ] as const) {
    const [first, last] = thirds(samples, field);
    figure(
      `${mechanism}: ${field} in the first and the last third`,
      `${first.toFixed(0)}${unit}, ${last.toFixed(0)}${unit}`,
    );
  }
}

/** A thread has one session, and two while it replaces one; and one object at a time. */
const MOST_OPEN = 6;

/** What SoftHSM2 itself keeps of each session object that was made and destroyed: 200 bytes, without any code of ours. */
const KEPT_MB_PER_OBJECT = 250 / 2 ** 20;

function flat(samples: readonly Sample[]): void {
  for (const field of ['sessions', 'objects'] as const) {
    const [, last] = thirds(samples, field);
    assert.ok(last <= MOST_OPEN, `${String(last)} ${field}`);
  }
  const [madeFirst, madeLast] = thirds(samples, 'objectsMade');
  const kept = { ownMb: 0, hostMb: (madeLast - madeFirst) * KEPT_MB_PER_OBJECT };
  for (const field of ['ownMb', 'hostMb'] as const) {
    const [first, last] = thirds(samples, field);
    assert.ok(last <= first * 1.25 + 20 + kept[field], `${field} grew from ${String(first)} to ${String(last)}`);
  }
}

test.run();
