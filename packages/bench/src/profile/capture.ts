import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runLoad } from '../load/load.ts';
import { PluginServer } from '../load/plugin.ts';
import { decryptRequests } from '../load/requests.ts';
import { callTree, monotonicMicroseconds, readProfile } from './cpu-profile.ts';
import type { CallNode } from './cpu-profile.ts';
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

/** Runs the built plugin under a load; what it does before the load and in its first seconds is left out. */
export async function capture(load: ProfiledLoad): Promise<Capture> {
  const directory = mkdtempSync(join(tmpdir(), 'teapot-profile-'));
  const profiles = join(directory, 'profiles');
  mkdirSync(profiles);
  const nodeArgs = ['--cpu-prof', `--cpu-prof-interval=${INTERVAL_US}`, `--cpu-prof-name=${PROFILE}`];
  nodeArgs.push(`--cpu-prof-dir=${profiles}`);
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
      return { nodes: callTree(readProfile(join(profiles, PROFILE)), window), calls: ok };
    } finally {
      await plugin.stop();
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
