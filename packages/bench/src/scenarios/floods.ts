import { until } from '@teapot-kms/testing';
import { readdirSync, readFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { MemoryProbe } from '../heap/memory-probe.ts';
import { FLOODS, runNeighbours, startFlood } from '../load/floods.ts';
import type { Flood, FloodCounts, NeighboursResult } from '../load/floods.ts';
import { fileKeys } from '../load/key-stores.ts';
import type { PluginServer } from '../load/plugin.ts';
import { Rig } from '../load/rig.ts';
import { missingTeapotBench } from '../load/teapot-bench.ts';
import type { Recorder } from '../recorder.ts';
import type { Scenario } from '../scenario.ts';

const NEIGHBOURS = 20;
const SECONDS = 4;
/** The flood begins before the neighbours call, and ends after them. */
const FLOOD_SECONDS = SECONDS + 2;
const WARM_UP_SECONDS = 2;
/** The transport cuts a connection without a preface after 5 s. */
const LET_GO_MS = 20_000;
const SAMPLE_MS = 100;

interface Held {
  /** V8's heap and Buffers after a garbage collection, in bytes. */
  readonly heap: number;
  readonly descriptors: number;
}

interface Outcome {
  readonly flood: Flood;
  readonly rest: NeighboursResult;
  readonly under: NeighboursResult;
  readonly counts: FloodCounts;
  readonly before: Held;
  readonly after: Held;
  /** The most that was resident during the flood, in kB. */
  readonly peakKb: number;
}

export const floods: Scenario = {
  name: 'floods',
  about: `what ${NEIGHBOURS} quiet tenants notice while another one floods its own socket, and what the plugin holds afterwards`,
  missing: missingTeapotBench,
  async run(record) {
    await using rig = new Rig();
    const probe = new MemoryProbe(rig.path());
    const { nodeArgs, env } = probe;
    const { keys } = await fileKeys(rig.path());
    const instances = Array.from({ length: NEIGHBOURS + 1 }, (_, index) => ({
      name: index === 0 ? 'flooded' : `quiet-${index}`,
      keys,
      transport: 'h2',
    }));
    const plugin = await rig.start({ instances, nodeArgs, env });
    const outcomes: Outcome[] = [];
    await runNeighbours(plugin.sockets.slice(1), WARM_UP_SECONDS);
    for (const flood of Object.keys(FLOODS) as Flood[]) {
      // The first flood of a kind grows tables and buffers that stay.
      await (
        await startFlood(flood, plugin.socket, 1)
      ).end;
      outcomes.push(await measure(flood, plugin, probe));
    }
    report(record, outcomes);
  },
};

async function measure(flood: Flood, plugin: PluginServer, probe: MemoryProbe): Promise<Outcome> {
  const [flooded, ...quiet] = plugin.sockets as [string, ...string[]];
  const idle = await untilLetGo(plugin.pid);
  const before = { heap: (await probe.look(plugin.pid)).heap, descriptors: idle };
  const rest = await runNeighbours(quiet, SECONDS);
  let peakKb = 0;
  const sampler = setInterval(() => (peakKb = Math.max(peakKb, residentKb(plugin.pid))), SAMPLE_MS);
  try {
    const { end } = await startFlood(flood, flooded, FLOOD_SECONDS);
    const under = await runNeighbours(quiet, SECONDS);
    const counts = await end;
    const descriptors = await untilLetGo(plugin.pid);
    const after = { heap: (await probe.look(plugin.pid)).heap, descriptors };
    return { flood, rest, under, counts, before, after, peakKb };
  } finally {
    clearInterval(sampler);
  }
}

/** Waits until the number of descriptors does not fall any more, and returns it. */
async function untilLetGo(pid: number): Promise<number> {
  const seen: number[] = [];
  const many = 10;
  await until(
    'the plugin has closed its connections',
    () => {
      seen.push(readdirSync(`/proc/${pid}/fd`).length);
      const last = seen.slice(-many);
      return last.length === many && Math.max(...last) === Math.min(...last);
    },
    { timeoutMs: LET_GO_MS, everyMs: 60 },
  );
  return seen.at(-1)!;
}

function residentKb(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
}

/** @throws Error if a neighbour's call has failed, or something is still held */
function report(record: Recorder, outcomes: readonly Outcome[]): void {
  const ms = (us: number): number => Math.round(us / 100) / 10;
  const each = (count: number): string => Math.round(count / FLOOD_SECONDS).toLocaleString('en-US');
  const megabytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(1);
  record.measured('load average of the machine at the end', '', [loadavg()[0]!]);
  record.table(
    `Status and Decrypt of ${NEIGHBOURS} neighbours, ms`,
    ['flood', 'p99 at rest', 'p50', 'p99', 'p99.9', 'failed of calls', 'streams/s', 'answers/s', 'connections'],
    outcomes.map(({ flood, rest, under: { latencyUs, calls, failed }, counts }) => [
      FLOODS[flood],
      ms(rest.latencyUs.p99),
      ms(latencyUs.p50),
      ms(latencyUs.p99),
      ms(latencyUs.p999),
      `${sum(failed)} of ${calls}`,
      each(counts.streams),
      each(counts.answers),
      counts.connections,
    ]),
  );
  record.table(
    'What the plugin holds',
    ['flood', 'sent, MB', 'resident at most, MB', 'heap before, MB', 'after', 'descriptors before', 'after'],
    outcomes.map(({ flood, counts, peakKb, before, after }) => [
      FLOODS[flood],
      megabytes(counts.bytes),
      megabytes(peakKb * 1024),
      megabytes(before.heap),
      megabytes(after.heap),
      before.descriptors,
      after.descriptors,
    ]),
  );
  record.measured(
    'p99 of neighbours at rest',
    'ms',
    outcomes.map(({ rest }) => rest.latencyUs.p99 / 1_000),
  );
  record.figure('flood-p99-ms', [Math.max(...outcomes.map(({ under }) => under.latencyUs.p99 / 1_000))]);
  const wrong = outcomes.filter(
    ({ under, before, after }) => sum(under.failed) > 0 || after.descriptors > before.descriptors,
  );
  if (wrong.length > 0)
    throw new Error(`calls of neighbours failed, or descriptors stayed: ${wrong.map(({ flood }) => flood).join(', ')}`);
}

function sum(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((total, count) => total + count, 0);
}
