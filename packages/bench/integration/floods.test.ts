import { until } from '@teapot-kms/testing';
import { readdirSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FLOODS, runNeighbours, startFlood } from '../src/load/floods.ts';
import type { Flood } from '../src/load/floods.ts';
import { fileKeys } from '../src/load/key-stores.ts';
import type { PluginServer } from '../src/load/plugin.ts';
import { Rig } from '../src/load/rig.ts';
import { missingTeapotBench } from '../src/load/teapot-bench.ts';

const missing = missingTeapotBench();
if (missing !== undefined) {
  console.log(`SKIPPED floods of the plugin: ${missing}`);
  process.exit(0);
}

const SECONDS = 0.3;
/** No call may fail because the machine is slow. */
const TIMEOUT_SECONDS = 60;

const test = suite('floods');
const rig = new Rig();
let plugin: PluginServer;

test.before(async () => {
  const { keys } = await fileKeys(rig.path());
  const instances = ['flooded', 'quiet'].map((name) => ({ name, keys, transport: 'h2' }));
  plugin = await rig.start({ instances });
});

test.after(() => rig[Symbol.asyncDispose]());

for (const flood of Object.keys(FLOODS) as Flood[]) {
  test(`${FLOODS[flood]}: no call of a neighbour fails, and no descriptor stays`, async () => {
    const [flooded, quiet] = plugin.sockets as [string, string];
    const descriptors = (): number => readdirSync(`/proc/${plugin.pid}/fd`).length;
    const base = descriptors();
    const { end } = await startFlood(flood, flooded, SECONDS);
    const { calls, failed } = await runNeighbours([quiet], SECONDS, TIMEOUT_SECONDS);
    const { connections } = await end;
    assert.ok(connections > 0 && calls > 0);
    assert.equal(failed, {});
    await until('the plugin has closed its connections', () => descriptors() <= base, { everyMs: 20 });
  });
}

test.run();
