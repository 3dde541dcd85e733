import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { growsSteadily, growthOf } from '../heap/growth.ts';
import { MemoryProbe } from '../heap/memory-probe.ts';
import { FLOODS, startFlood } from '../load/floods.ts';
import type { Flood } from '../load/floods.ts';
import { fileKeys } from '../load/key-stores.ts';
import type { PluginInstance } from '../load/plugin.ts';
import { Rig } from '../load/rig.ts';
import { switchKey } from './key-switch.ts';
import { ReplacedPlugin, RESTARTS } from './replaced-plugin.ts';
import { SoakTenant } from './tenant.ts';

/** Growth of the heap between two rounds that is no leak, in bytes: counters and histograms of new keys, and noise. */
const HEAP_LIMIT = 20 * 1024;
/** What a call may fail with while its plugin is down. */
const DOWN = /^Error: 14 UNAVAILABLE|^Error: 1 CANCELLED/;

export interface SoakOptions {
  readonly minutes: number;
  readonly tenants: number;
  readonly floodSeconds: number;
  /** Gets a line after each round. */
  readonly say: (line: string) => void;
}

export interface SoakResult {
  readonly calls: number;
  readonly wrong: number;
  /** Failed calls that nothing explains, by their error. */
  readonly failed: Readonly<Record<string, number>>;
  /** Calls that failed while their plugin was down. */
  readonly failedWhileDown: number;
  readonly rounds: number;
  /** V8's heap and Buffers of the lasting plugin after each round, after a garbage collection, in bytes. */
  readonly heap: readonly number[];
  readonly leaks: boolean;
}

/**
 * Two plugins under calls of their tenants, in rounds. In each round a tenant of each plugin gets a new key and loses its old
 * one, a tenant floods the first plugin, and the second one is replaced. The first one lasts: its memory is watched.
 */
export async function soak({ minutes, tenants, floodSeconds, say }: SoakOptions): Promise<SoakResult> {
  await using rig = new Rig();
  const probe = new MemoryProbe(rig.path());
  const instancesOf = (prefix: string): Promise<PluginInstance[]> =>
    Promise.all(
      Array.from({ length: tenants }, async (_, index) => {
        const { keys } = await fileKeys(rig.path());
        return { name: `${prefix}-${index}`, keys };
      }),
    );
  const lastingInstances = await instancesOf('lasting');
  const { nodeArgs, env } = probe;
  const lasting = await rig.start({ instances: lastingInstances, nodeArgs, env });
  const replaced = new ReplacedPlugin({ directory: rig.path(), instances: await instancesOf('replaced') });
  rig.ends(replaced);
  await replaced.start();

  // The first tenant floods, and nothing else.
  const quiet = lasting.sockets.slice(1).map((socket) => new SoakTenant(socket));
  const restless = replaced.sockets.map((socket) => new SoakTenant(socket));
  const uri = ({ keys }: PluginInstance): string => String(keys['uri']);
  const heap: number[] = [];
  const end = Date.now() + minutes * 60_000;
  let rounds = 0;
  do {
    const [one, other] = [randomInt(1, tenants), randomInt(tenants)];
    const kind = Object.keys(FLOODS)[rounds % Object.keys(FLOODS).length] as Flood;
    const flood = await startFlood(kind, lasting.socket, floodSeconds);
    await switchKey(uri(lastingInstances[one]!), quiet[one - 1]!);
    await flood.end;
    await switchKey(uri(replaced.instances[other]!), restless[other]!);
    const how = RESTARTS[rounds % RESTARTS.length]!;
    await replaced.replace(how);
    await sleep(floodSeconds * 1_000);
    heap.push((await probe.look(lasting.pid)).heap);
    rounds++;
    const calls = sum([...quiet, ...restless].map((tenant) => tenant.calls));
    say(`round ${rounds}: ${calls} calls, flood ${kind}, ${how}, heap ${(heap.at(-1)! / 2 ** 20).toFixed(1)} MB`);
  } while (Date.now() < end);

  const all = [...quiet, ...restless];
  await Promise.all(all.map((tenant) => tenant.end()));
  const whileDown = sum(restless.flatMap(({ failed }) => [...failed].map(([text, n]) => (DOWN.test(text) ? n : 0))));
  const failed: Record<string, number> = {};
  for (const [tenant, mayBeDown] of all.map((one, index) => [one, index >= quiet.length] as const)) {
    for (const [text, times] of tenant.failed) {
      if (!(mayBeDown && DOWN.test(text))) failed[text] = (failed[text] ?? 0) + times;
    }
  }
  return {
    calls: sum(all.map((tenant) => tenant.calls)),
    wrong: sum(all.map((tenant) => tenant.wrong)),
    failed,
    failedWhileDown: whileDown,
    rounds,
    heap,
    leaks: heap.length > 3 && growsSteadily(growthOf(heap), HEAP_LIMIT),
  };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
