import { LocalKekService } from '@teapot-kms/core';
import { KmsClient } from '@teapot-kms/server';
import { until } from '@teapot-kms/test-parts';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BenchToken, LATENCY_MS, openKek, SESSIONS } from '../bench-token.ts';
import type { Keys, Sealed } from '../bench-token.ts';
import { PluginProcess } from '../plugin-process.ts';
import type { Recorder } from '../recorder.ts';
import type { Scenario } from '../scenario.ts';

const DECRYPTS = 10_000;
const KEYS = 500;
/** What 500 calls of 5 ms take 8 sessions at least. */
const IDEAL_MS = (KEYS * LATENCY_MS) / SESSIONS;
/** Calls in flight through the socket: kube-apiserver opens no more streams at a time than it has decryptions to do. */
const IN_FLIGHT = 1_000;
const ROUNDS = 3;
/** ms after the start in which the token host gets its threads: what is cold here is the cache. */
const WARM_UP_MS = 2_000;
const POINTS = 100;

export const tokenStorm: Scenario = {
  name: 'token-storm',
  about: `a restart with a cold cache: ${DECRYPTS} Decrypts over ${KEYS} wrapped keys, ${LATENCY_MS} ms a token call`,
  missing: () => BenchToken.missing() ?? PluginProcess.missing(),
  async run(record) {
    const directory = mkdtempSync(join(tmpdir(), 'teapot-bench-'));
    try {
      const token = await BenchToken.create(directory);
      const { keys, contextId } = await token.addKeyset('main');
      const sealed = await token.seal(contextId, KEYS);
      await token.close();
      const unwraps = [
        ...(await inProcess(record, token, keys, sealed)),
        ...(await throughSocket(record, token, { directory, keys, sealed })),
      ];
      record.figure('unwraps-per-key', [Math.max(...unwraps) / KEYS]);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  },
};

async function inProcess(
  record: Recorder,
  token: BenchToken,
  keys: Keys,
  sealed: readonly Sealed[],
): Promise<number[]> {
  const storms: Storm[] = [];
  const unwraps: number[] = [];
  const callsPerMessage: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const service = new LocalKekService({ remote: openKek(keys), maxPending: KEYS });
    try {
      service.start();
      await until('a key is known', async () => (await service.status()).healthz === 'ok');
      await sleep(WARM_UP_MS);
      const counter = (name: string): number => service.describe().counters[name] ?? 0;
      const messages = counter('token_host_messages');
      token.slowFromNow();
      const decrypt = async (one: Sealed) => service.decrypt(one, { signal: new AbortController().signal });
      storms.push(await storm(sealed, decrypt, DECRYPTS));
      unwraps.push(token.unwraps);
      callsPerMessage.push(KEYS / (counter('token_host_messages') - messages));
    } finally {
      await service.close();
    }
  }
  report(record, 'in one process', storms);
  record.measured('token calls per message over the pipe, both ways', '', callsPerMessage);
  return unwraps;
}

interface Plugged {
  readonly directory: string;
  readonly keys: Keys;
  readonly sealed: readonly Sealed[];
}

async function throughSocket(
  record: Recorder,
  token: BenchToken,
  { directory, keys, sealed }: Plugged,
): Promise<number[]> {
  const socket = join(directory, 'run/kms.sock');
  const cold: Storm[] = [];
  const warm: Storm[] = [];
  const unwraps: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const plugin = new PluginProcess({ directory, instances: [{ name: 'main', socket, keys }] });
    const client = new KmsClient(socket, 30_000);
    const decrypt = (one: Sealed): Promise<Buffer> => client.decrypt(one.ciphertext, one.keyId, 'bench');
    try {
      await plugin.untilReady();
      await client.status();
      await sleep(WARM_UP_MS);
      token.slowFromNow();
      cold.push(await storm(sealed, decrypt, IN_FLIGHT));
      unwraps.push(token.unwraps);
      warm.push(await storm(sealed, decrypt, IN_FLIGHT));
      if (token.unwraps !== unwraps.at(-1)) throw new Error('a warm cache asked the token');
    } finally {
      client.close();
      await plugin.stop();
    }
  }
  report(record, 'through the socket', cold);
  record.measured('the same again, with a warm cache', 'ms', durations(warm));
  record.line('storm-timeline', 'cold cache', timeline(cold));
  record.line('storm-timeline', 'warm cache', timeline(warm));
  return unwraps;
}

/** When each call was answered, in ms after the first was made. */
type Storm = readonly number[];

/** @throws Error for a wrong answer: a figure of wrong answers is worth nothing */
async function storm(
  sealed: readonly Sealed[],
  decrypt: (one: Sealed) => Promise<Buffer>,
  inFlight: number,
): Promise<Storm> {
  const started = performance.now();
  const answered: number[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < DECRYPTS) {
      const one = sealed[next++ % sealed.length]!;
      if (!(await decrypt(one)).equals(one.plaintext)) throw new Error('a Decrypt gave a wrong plaintext');
      answered.push(performance.now() - started);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, worker));
  return answered;
}

const durations = (storms: readonly Storm[]): number[] => storms.map((answered) => answered.at(-1)!);

function report(record: Recorder, where: string, storms: readonly Storm[]): void {
  const ms = durations(storms);
  record.measured(`cold storm ${where}`, 'ms', ms);
  record.measured(
    `cold storm ${where} ÷ (${KEYS} keys × ${LATENCY_MS} ms ÷ ${SESSIONS} sessions)`,
    '×',
    ms.map((one) => one / IDEAL_MS),
  );
}

/** Calls answered over time, of the last round. */
function timeline(storms: readonly Storm[]): (readonly [ms: number, calls: number])[] {
  const answered = storms.at(-1)!;
  return Array.from({ length: POINTS }, (_, index) => {
    const calls = Math.round(((index + 1) * answered.length) / POINTS);
    return [Math.round(answered[calls - 1]! * 10) / 10, calls];
  });
}
