import { CryptoEngine, decodeEnvelope } from '@teapot-kms/core';
import type { Envelope } from '@teapot-kms/core';
import { randomBytes } from 'node:crypto';
import { threadCpuMs } from '../cpu-time.ts';
import { median } from '../statistics.ts';
import { newEnvelopeKey, patient } from './material.ts';

/** Lengths of a message in bytes. kube-apiserver sends the first; the last is close to the limit of an envelope. */
export const PAYLOADS = [32, 1_024, 4_096, 16_384, 64_000] as const;
/** Numbers of messages that arrive in one turn of the event loop. */
export const BATCHES = [1, 4, 16, 64, 256] as const;
/** Number of messages that are timed together. They take some ms. */
const windowOf = ({ bytes, batch }: Load): number => Math.max(batch, bytes > 10_000 ? 64 : 256);

export interface Load {
  readonly bytes: number;
  readonly batch: number;
}

export const LOADS: readonly Load[] = PAYLOADS.flatMap((bytes) => BATCHES.map((batch) => ({ bytes, batch })));

const key = newEnvelopeKey();

/**
 * Seals `count` messages and opens as many, `batch` at a time.
 * @returns whether any answer was asynchronous
 */
async function work(engine: CryptoEngine, { plaintexts, envelopes }: Messages, batch: number, count: number) {
  let waited = false;
  for (const one of [
    (index: number) => engine.seal(key, plaintexts[index % plaintexts.length]!, patient),
    (index: number) => engine.open(key, envelopes[index % envelopes.length]!, patient),
  ]) {
    for (let done = 0; done < count; done += batch) {
      const pending: unknown[] = [];
      for (let i = 0; i < batch; i++) {
        const answer = one(i);
        if (answer instanceof Promise) pending.push(answer);
      }
      if (pending.length === 0) continue;
      waited = true;
      await Promise.all(pending);
    }
  }
  return waited;
}

interface Messages {
  readonly plaintexts: readonly Buffer[];
  readonly envelopes: readonly Envelope[];
}

export interface Cost {
  /** µs per message: wall time, or the CPU time of this thread if all answers were synchronous. */
  readonly time: number;
  /** CPU of the main thread per message, in µs. */
  readonly mainCpu: number;
}

async function costOf(engine: CryptoEngine, messages: Messages, load: Load): Promise<Cost> {
  const count = windowOf(load);
  const before = { wall: performance.now(), cpu: threadCpuMs() };
  const waited = await work(engine, messages, load.batch, count);
  const each = 1000 / (2 * count);
  const mainCpu = (threadCpuMs() - before.cpu) * each;
  return { time: waited ? (performance.now() - before.wall) * each : mainCpu, mainCpu };
}

/** Measures two engines under one load, in the order A B, B A. Returns the costs of each round. */
export async function sideBySide(a: CryptoEngine, b: CryptoEngine, load: Load, rounds: number) {
  const plaintexts = Array.from({ length: 8 }, () => randomBytes(load.bytes));
  const messages = { plaintexts, envelopes: plaintexts.map((plaintext) => decodeEnvelope(key.seal(plaintext))) };
  const costs: { readonly a: Cost[]; readonly b: Cost[] } = { a: [], b: [] };
  for (let round = -1; round < rounds; round++) {
    for (const which of round % 2 === 0 ? (['a', 'b'] as const) : (['b', 'a'] as const)) {
      const cost = await costOf(which === 'a' ? a : b, messages, load);
      // The first round is the warm-up.
      if (round >= 0) costs[which].push(cost);
    }
  }
  return costs;
}

export interface Crossover extends Load {
  readonly threads: number;
  readonly inline: Cost;
  readonly pool: Cost;
}

/** Compares inline with a pool that takes every message, for each load. */
export async function crossover(threads: number, rounds: number): Promise<Crossover[]> {
  const inline = new CryptoEngine('inline');
  const host = { cores: threads + 1, aesInstructions: true };
  const pool = new CryptoEngine('pool', { host, inlineBytes: 0 });
  const middle = (costs: readonly Cost[]): Cost => ({
    time: median(costs.map(({ time }) => time)),
    mainCpu: median(costs.map(({ mainCpu }) => mainCpu)),
  });
  const found: Crossover[] = [];
  for (const load of LOADS) {
    const { a, b } = await sideBySide(inline, pool, load, rounds);
    found.push({ ...load, threads, inline: middle(a), pool: middle(b) });
  }
  await pool.close();
  return found;
}
