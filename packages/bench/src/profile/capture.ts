import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runLoad } from '../load/load.ts';
import { PluginServer } from '../load/plugin.ts';
import { decryptRequests } from '../load/requests.ts';
import { callTree, monotonicMicroseconds, readProfile } from './cpu-profile.ts';
import type { CallNode, Window } from './cpu-profile.ts';
import type { ProfiledLoad } from './loads.ts';

const WARM_UP_S = 3;
const CAPTURE_S = 10;
/** µs between two looks: about 100,000 samples. */
const INTERVAL_US = 100;
const PROFILE = 'plugin.cpuprofile';

export interface Capture {
  /** The call tree's nodes, the root first. */
  readonly nodes: readonly CallNode[];
  readonly calls: number;
}

/** Has a plugin write down what its main thread does. */
export class Profiler {
  readonly #directory: string;
  /** For Node. A token host gets them too; its profile has the same name and is written earlier. */
  readonly nodeArgs: readonly string[];

  /**
   * @param directory - which is there
   * @param intervalUs - between two looks; each costs the threads of a token host too
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

  /** Once the plugin has ended. */
  read(window: Window): CallNode[] {
    return callTree(readProfile(join(this.#directory, PROFILE)), window);
  }
}

/** Runs the built plugin under a load; what it does before the load and in its first seconds is left out. */
export async function capture(load: ProfiledLoad): Promise<Capture> {
  const directory = mkdtempSync(join(tmpdir(), 'teapot-profile-'));
  const profiler = new Profiler(directory);
  const { nodeArgs } = profiler;
  try {
    const { keys, env = {} } = await load.keyStore(directory);
    const plugin = await PluginServer.start({ directory, instances: [{ name: 'main', keys }], nodeArgs, env });
    try {
      const { socket } = plugin;
      const { method, ...calls } = await decryptRequests(socket);
      const targets = [{ socket, inFlight: load.inFlight, ...calls }];
      await runLoad({ method, targets, seconds: WARM_UP_S });
      const from = monotonicMicroseconds();
      const { ok } = await runLoad({ method, targets, seconds: CAPTURE_S });
      const window = [from, monotonicMicroseconds()] as const;
      await plugin.stop();
      return { nodes: profiler.read(window), calls: ok };
    } finally {
      await plugin.stop();
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
