import { growsSteadily, growthOf } from '../heap/growth.ts';
import { MemoryProbe } from '../heap/memory-probe.ts';
import { fileKeys } from '../load/key-stores.ts';
import { runLoad } from '../load/load.ts';
import type { PluginServer } from '../load/plugin.ts';
import { decryptRequests, encryptRequests } from '../load/requests.ts';
import { Rig } from '../load/rig.ts';
import { missingTeapotBench } from '../load/teapot-bench.ts';
import type { Recorder } from '../recorder.ts';
import type { Scenario } from '../scenario.ts';

const ROUNDS = 10;
const CALLS_PER_ROUND = 100_000;
/** Calls until the code is compiled. */
const WARM_UP_CALLS = 50_000;
const IN_FLIGHT = 100;

/**
 * Limits of growth in bytes per call. The smallest object in V8 takes 16 bytes. The limit of resident memory is higher, because an
 * allocator returns memory late and in pieces. A leaked native cipher takes several hundred bytes.
 */
const HEAP_LIMIT = 1;
const RESIDENT_LIMIT = 50;

export const heapGrowth: Scenario = {
  name: 'heap-growth',
  about: `memory of the plugin after each ${CALLS_PER_ROUND.toLocaleString('en-US')} of a million calls, half of them Encrypts`,
  missing: missingTeapotBench,
  async run(record) {
    await using rig = new Rig();
    const probe = new MemoryProbe(rig.path());
    const { nodeArgs, env } = probe;
    const { keys } = await fileKeys(rig.path());
    const plugin = await rig.start({ instances: [{ name: 'main', keys }], nodeArgs, env });
    judge(record, await sampleMemory(plugin, probe));
  },
};

interface Samples {
  readonly heap: number[];
  readonly resident: number[];
}

async function sampleMemory({ socket, pid }: PluginServer, probe: MemoryProbe): Promise<Samples> {
  const loads = [await decryptRequests(socket), encryptRequests()];
  const samples: Samples = { heap: [], resident: [] };
  for (let round = 0; round <= ROUNDS; round++) {
    const callsPerTarget = (round === 0 ? WARM_UP_CALLS : CALLS_PER_ROUND) / loads.length;
    for (const { method, ...calls } of loads) {
      await runLoad({ method, targets: [{ socket, inFlight: IN_FLIGHT, ...calls }], callsPerTarget });
    }
    const { heap, resident } = await probe.look(pid);
    samples.heap.push(heap);
    samples.resident.push(resident);
  }
  return samples;
}

/** @throws Error if memory grows steadily */
function judge(record: Recorder, { heap, resident }: Samples): void {
  const megabytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(2);
  const rows = heap.map((bytes, index) => [
    (index * CALLS_PER_ROUND).toLocaleString('en-US'),
    megabytes(bytes),
    megabytes(resident[index]!),
  ]);
  record.table(
    'Memory after a garbage collection',
    ['calls after the warm-up', 'heap and Buffers, MB', 'resident, MB'],
    rows,
  );
  const growing: string[] = [];
  for (const { what, samples, limit } of [
    { what: 'heap and Buffers', samples: heap, limit: HEAP_LIMIT },
    { what: 'resident memory', samples: resident, limit: RESIDENT_LIMIT },
  ]) {
    const growth = growthOf(samples);
    const kilobytes = (slope: number): number => slope / 1024;
    record.measured(`growth of ${what} for ${CALLS_PER_ROUND.toLocaleString('en-US')} calls`, 'kB', [
      kilobytes(growth.slope),
    ]);
    record.measured(`the same in the second half`, 'kB', [kilobytes(growth.lateSlope)]);
    if (growsSteadily(growth, limit * CALLS_PER_ROUND)) {
      growing.push(`${what} by ${(growth.slope / CALLS_PER_ROUND).toFixed(1)} bytes a call (limit ${limit})`);
    }
  }
  if (growing.length > 0) throw new Error(`memory grows steadily: ${growing.join(', ')}`);
}
