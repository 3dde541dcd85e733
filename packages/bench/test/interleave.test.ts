import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { threadCpuMs } from '../src/cpu-time.ts';
import { interleave, ratios } from '../src/micro/interleave.ts';

test('thread CPU time counts the work of this thread, and no other', async () => {
  const before = threadCpuMs();
  const burn = 'const from = process.cpuUsage(); while (process.cpuUsage(from).user < 300_000);';
  const worker = new Worker(burn, { eval: true });
  await once(worker, 'exit');
  const afterWaiting = threadCpuMs();
  assert.ok(afterWaiting - before < 300, `${String(afterWaiting - before)} ms while a worker used 300`);
  const until = afterWaiting + 50;
  while (threadCpuMs() < until);
});

test('a case with twice the work has twice the time, per call and round', () => {
  let now = 0;
  const cases = [
    { name: 'one', calls: 10, run: () => void (now += 1) },
    { name: 'two', calls: 10, run: () => void (now += 2) },
  ];
  // A clock of few different values counts as too coarse, so each reading adds some 0.1 %.
  let readings = 0;
  const samples = interleave(cases, { rounds: 3, timeMs: 10, now: () => (now += (readings++ % 13) / 1e4) });
  const rounded = (values: readonly number[]) => values.map((value) => Number(value.toFixed(1)));
  assert.equal(rounded(samples.get('one')!.map((us) => us / 100)), [1, 1, 1], '100 µs for each of ten calls');
  assert.equal(rounded(ratios(samples.get('two')!, samples.get('one')!)), [2, 2, 2]);
});

test.run();
