import { CryptoEngine } from '@teapot-kms/core';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { BATCHES, LOADS, PAYLOADS, sideBySide } from '../micro/pool-grid.ts';
import type { Crossover } from '../micro/pool-grid.ts';
import { inOwnProcess } from '../own-process.ts';
import { show } from '../recorder.ts';
import type { Recorder } from '../recorder.ts';
import type { Scenario } from '../scenario.ts';
import { median } from '../statistics.ts';

const ROUNDS = 5;
/** Rounds for the figure, which is the worst of all loads. */
const FIGURE_ROUNDS = 31;
const FIGURE_SAMPLES = 5;
/** Hides AES-NI, VAES and PCLMULQDQ from OpenSSL (OPENSSL_ia32cap(3)). This simulates a small ARM core, except for its speed. */
const NO_AES = { OPENSSL_ia32cap: '~0x200000200000000:~0x60000000000' };

/** Finds the loads for which threads pay, with and without AES instructions. `crypto.engine: auto` is set from the results. */
export const pool: Scenario = {
  name: 'pool',
  about: 'sealing and opening inline against a pool of threads, by length, batch and threads: sets crypto.engine: auto',
  async run(record) {
    report(record, 'with AES instructions', measure({}));
    if (process.arch === 'x64') report(record, 'without AES instructions', measure(NO_AES));
    record.measured('inline against itself, worst load', '×', await worstLoad('inline'));
    record.figure('pool-vs-inline', await worstLoad('auto'));
  },
};

function measure(env: Record<string, string>): Crossover[] {
  const child = join(import.meta.dirname, '../micro/pool-child.ts');
  return inOwnProcess(child, [String(availableParallelism()), String(ROUNDS)], env) as Crossover[];
}

function report(record: Recorder, processor: string, found: readonly Crossover[]): void {
  const rows = found.map(({ bytes, batch, threads, inline, pool: pooled }) => [
    bytes,
    batch,
    threads,
    show(inline.time),
    show(pooled.time),
    show(pooled.time / inline.time),
    show(pooled.mainCpu / inline.mainCpu),
  ]);
  const columns = ['bytes', 'batch', 'threads', 'inline µs', 'pool µs', 'time ÷', 'CPU of main ÷'];
  record.table(`pool against inline, ${processor}`, columns, rows);
  for (const bytes of PAYLOADS) {
    const points = BATCHES.map((batch): [number, number] => {
      const same = found.filter((one) => one.bytes === bytes && one.batch === batch);
      return [batch, Math.min(...same.map((one) => one.pool.time / one.inline.time))];
    });
    record.line('pool-crossover', `${bytes.toLocaleString('en-US')} bytes, ${processor}`, points);
  }
}

/** Returns samples of the engine's time ÷ inline, for the load with the highest median. */
async function worstLoad(name: 'auto' | 'inline'): Promise<readonly number[]> {
  const [engine, inline] = [new CryptoEngine(name), new CryptoEngine('inline')];
  let worst: readonly number[] = [0];
  for (const load of LOADS) {
    const samples: number[] = [];
    for (let i = 0; i < FIGURE_SAMPLES; i++) {
      const { a, b } = await sideBySide(engine, inline, load, FIGURE_ROUNDS);
      samples.push(median(a.map(({ time }, round) => time / b[round]!.time)));
    }
    if (median(samples) > median(worst)) worst = samples;
  }
  await engine.close();
  return worst;
}
