// The soak run itself, for one round: `npm run soak` takes an hour.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { missingTeapotBench } from '../src/load/teapot-bench.ts';
import { soak } from '../src/soak/soak.ts';

const missing = missingTeapotBench();
if (missing !== undefined) {
  console.log(`SKIPPED the soak run: ${missing}`);
  process.exit(0);
}

const test = suite('soak');

test('a round with a flood, two rotations and a restart: no plaintext is wrong, and no call fails without a cause', async () => {
  const lines: string[] = [];
  const result = await soak({ minutes: 0, tenants: 3, floodSeconds: 0.5, say: (line) => lines.push(line) });
  assert.ok(result.calls > 100, String(result.calls));
  assert.is(result.wrong, 0);
  assert.equal(result.failed, {});
  assert.is(result.rounds, 1);
  assert.is(result.heap.length, 1);
  assert.match(lines.join('\n'), /^round 1: \d+ calls, flood status, SIGTERM, heap \d+\.\d MB$/);
});

test.run();
