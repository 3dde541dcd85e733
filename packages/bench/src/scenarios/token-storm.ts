import { timed } from '@teapot-kms/testing';
import { LocalKekService } from '@teapot-kms/core';
import { setTimeout as sleep } from 'node:timers/promises';
import { BenchToken, DECRYPT, decryptsOf, LATENCY_MS, openKek, SESSIONS } from '../bench-token.ts';
import type { Keys, Sealed } from '../bench-token.ts';
import { runLoad } from '../load/load.ts';
import type { LoadResult } from '../load/load.ts';
import { Rig } from '../load/rig.ts';
import { missingTeapotBench } from '../load/teapot-bench.ts';
import { untilOk } from '../micro/material.ts';
import type { Recorder } from '../recorder.ts';
import type { Scenario } from '../scenario.ts';

const DECRYPTS = 10_000;
const KEYS = 500;
/** The least time for all unwraps: 8 sessions share 500 calls of 5 ms. */
const IDEAL_MS = (KEYS * LATENCY_MS) / SESSIONS;
/** Calls in flight through the socket. kube-apiserver opens at most one stream for each pending decryption. */
const IN_FLIGHT = 1_000;
const ROUNDS = 3;
/** These rounds are short, so there are more of them. The first one is also the first work of the process. */
const ROUNDS_IN_PROCESS = 7;
/** ms in which the token host starts its threads. Only the cache must be cold. */
const WARM_UP_MS = 2_000;

export const tokenStorm: Scenario = {
  name: 'token-storm',
  about: `a restart with a cold cache: ${DECRYPTS} Decrypts over ${KEYS} wrapped keys, ${LATENCY_MS} ms a token call`,
  missing: () => BenchToken.missing() ?? missingTeapotBench(),
  async run(record) {
    await using rig = new Rig();
    const token = await BenchToken.create(rig.path());
    const { keys, contextId } = await token.addKeyset('main');
    const sealed = await token.seal(contextId, KEYS);
    await token.close();
    const storm = { token, keys, sealed };
    const unwraps = [...(await inProcess(record, storm)), ...(await throughSocket(record, rig, storm))];
    record.figure('unwraps-per-key', [Math.max(...unwraps) / KEYS]);
  },
};

interface Storm {
  readonly token: BenchToken;
  readonly keys: Keys;
  readonly sealed: readonly Sealed[];
}

async function inProcess(record: Recorder, { token, keys, sealed }: Storm): Promise<number[]> {
  const ms: number[] = [];
  const unwraps: number[] = [];
  const callsPerMessage: number[] = [];
  for (let round = 0; round < ROUNDS_IN_PROCESS; round++) {
    const service = new LocalKekService({ remote: openKek(keys), maxPending: KEYS });
    try {
      service.start();
      await untilOk(service);
      await sleep(WARM_UP_MS);
      const counter = (name: string): number => service.describe().counters[name] ?? 0;
      const messages = counter('token_host_messages');
      token.slowFromNow();
      ms.push((await timed(() => decryptAll(service, sealed))) * 1_000);
      unwraps.push(token.unwraps);
      callsPerMessage.push(KEYS / (counter('token_host_messages') - messages));
    } finally {
      await service.close();
    }
  }
  report(record, 'in one process', ms);
  record.measured('token calls per message over the pipe, both ways', '', callsPerMessage);
  return unwraps;
}

async function throughSocket(record: Recorder, rig: Rig, { token, keys, sealed }: Storm): Promise<number[]> {
  const cold: LoadResult[] = [];
  const warm: LoadResult[] = [];
  const unwraps: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const plugin = await rig.start({ instances: [{ name: 'main', keys }] });
    const plan = {
      method: DECRYPT,
      callsPerTarget: DECRYPTS,
      targets: [{ socket: plugin.socket, inFlight: IN_FLIGHT, ...decryptsOf(sealed) }],
    };
    await sleep(WARM_UP_MS);
    token.slowFromNow();
    cold.push(await runLoad(plan));
    unwraps.push(token.unwraps);
    warm.push(await runLoad(plan));
    if (token.unwraps !== unwraps.at(-1)) throw new Error('the token got calls although the cache was warm');
    await plugin.stop();
  }
  const ms = (results: readonly LoadResult[]): number[] => results.map(({ seconds }) => seconds * 1_000);
  report(record, 'through the socket', ms(cold));
  record.measured('the same again, with a warm cache', 'ms', ms(warm));
  record.line('storm-timeline', 'cold cache', cold.at(-1)!.timeline);
  record.line('storm-timeline', 'warm cache', warm.at(-1)!.timeline);
  return unwraps;
}

/** @throws Error if an answer is wrong, because a figure counts correct answers only */
async function decryptAll(service: LocalKekService, sealed: readonly Sealed[]): Promise<void> {
  const messages = Array.from({ length: DECRYPTS }, (_, index) => sealed[index % sealed.length]!);
  // No async wrapper around a call: 10,000 async functions would be a tenth of the measured time.
  const decrypt = (one: Sealed) => Promise.resolve(service.decrypt(one, { signal: new AbortController().signal }));
  const answers = await Promise.all(messages.map(decrypt));
  if (!answers.every((answer, index) => answer.equals(messages[index]!.plaintext))) {
    throw new Error('a Decrypt returned a wrong plaintext');
  }
}

function report(record: Recorder, where: string, ms: readonly number[]): void {
  record.measured(`cold storm ${where}`, 'ms', ms);
  record.measured(
    `cold storm ${where} ÷ (${KEYS} keys × ${LATENCY_MS} ms ÷ ${SESSIONS} sessions)`,
    '×',
    ms.map((one) => one / IDEAL_MS),
  );
}
