import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { threadCpuMs } from '../src/cpu-time.ts';
import { interleave, ratios } from '../src/micro/interleave.ts';
import { median } from '../src/statistics.ts';

/** Uses `ms` of CPU in this thread. */
function burn(ms: number): void {
  const until = threadCpuMs() + ms;
  while (threadCpuMs() < until);
}

test('thread CPU time counts work and not sleep', async () => {
  const before = threadCpuMs();
  await new Promise((resolve) => setTimeout(resolve, 200));
  const afterSleep = threadCpuMs();
  burn(50);
  assert.ok(afterSleep - before < 100);
  assert.ok(threadCpuMs() - afterSleep >= 50);
});

test('a case with twice the work has twice the time, per call and round', () => {
  const cases = [
    { name: 'one', calls: 10, run: () => burn(1) },
    { name: 'two', calls: 10, run: () => burn(2) },
  ];
  const samples = interleave(cases, { rounds: 3, timeMs: 10 });
  assert.is(samples.get('one')!.length, 3);
  assert.ok(Math.abs(median(samples.get('one')!) - 100) < 20, 'µs for each of ten calls');
  assert.ok(Math.abs(median(ratios(samples.get('two')!, samples.get('one')!)) - 2) < 0.2);
});

test.run();
