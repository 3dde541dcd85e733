import { join } from 'node:path';
import { runLoad } from '../load/load.ts';
import { decryptRequests } from '../load/requests.ts';
import { Rig } from '../load/rig.ts';
import { callTree, monotonicMicroseconds, readProfile } from './cpu-profile.ts';
import type { CallNode, Window } from './cpu-profile.ts';
import type { ProfiledLoad } from './loads.ts';

const WARM_UP_S = 3;
const CAPTURE_S = 10;
/** Sampling interval in µs, for about 100,000 samples. */
const INTERVAL_US = 100;
const PROFILE = 'plugin.cpuprofile';

export interface Capture {
  /** Nodes of the call tree, the root first. */
  readonly nodes: readonly CallNode[];
  readonly calls: number;
}

/** Records a CPU profile of the main thread of a plugin. */
export class Profiler {
  readonly #directory: string;
  /** Arguments of Node. A token host gets them too. It writes a profile of the same name, which the plugin overwrites later. */
  readonly nodeArgs: readonly string[];

  /**
   * @param directory - for the profile; created if missing
   * @param intervalUs - sampling interval. Sampling also costs the threads of a token host
   */
  constructor(directory: string, intervalUs = INTERVAL_US) {
    this.#directory = directory;
    this.nodeArgs = [
      '--cpu-prof',
      `--cpu-prof-interval=${intervalUs}`,
      `--cpu-prof-name=${PROFILE}`,
      `--cpu-prof-dir=${directory}`,
    ];
  }

  /** Reads the profile. The plugin must have exited. */
  read(window: Window): CallNode[] {
    return callTree(readProfile(join(this.#directory, PROFILE)), window);
  }
}

/** Profiles the built plugin under a load. The start and the warm-up are left out. */
export async function capture(load: ProfiledLoad): Promise<Capture> {
  await using rig = new Rig();
  const profiler = new Profiler(rig.path());
  const { nodeArgs } = profiler;
  const { keys, env = {} } = await load.keyStore(rig.path());
  const plugin = await rig.start({ instances: [{ name: 'main', keys }], nodeArgs, env });
  const { socket } = plugin;
  const { method, ...calls } = await decryptRequests(socket);
  const targets = [{ socket, inFlight: load.inFlight, ...calls }];
  await runLoad({ method, targets, seconds: WARM_UP_S });
  const from = monotonicMicroseconds();
  const { ok } = await runLoad({ method, targets, seconds: CAPTURE_S });
  const window = [from, monotonicMicroseconds()] as const;
  await plugin.stop();
  return { nodes: profiler.read(window), calls: ok };
}
