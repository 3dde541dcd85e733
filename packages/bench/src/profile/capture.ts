import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClosedLoop } from '../closed-loop.ts';
import { PluginProcess } from '../plugin-process.ts';
import { callTree, monotonicMicroseconds, readProfile } from './cpu-profile.ts';
import type { CallNode } from './cpu-profile.ts';
import type { ProfiledLoad } from './loads.ts';

const WARM_UP_MS = 3_000;
const CAPTURE_MS = 10_000;
/** µs between two looks: about 100,000 samples. */
const INTERVAL_US = 100;
const CIPHERTEXTS = 1_000;
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
  try {
    const instance = await load.instance(directory);
    const nodeArgs = ['--cpu-prof', `--cpu-prof-interval=${INTERVAL_US}`, `--cpu-prof-name=${PROFILE}`];
    nodeArgs.push(`--cpu-prof-dir=${profiles}`);
    const plugin = new PluginProcess({ directory, instances: [instance], nodeArgs });
    const client = new ClosedLoop(instance.socket, load.inFlight);
    try {
      await plugin.untilReady();
      await client.prepare(CIPHERTEXTS);
      await client.decrypt(during(WARM_UP_MS));
      const from = monotonicMicroseconds();
      const calls = await client.decrypt(during(CAPTURE_MS));
      const window = [from, monotonicMicroseconds()] as const;
      await plugin.stop();
      return { nodes: callTree(readProfile(join(profiles, PROFILE)), window), calls };
    } finally {
      client.close();
      await plugin.stop();
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function during(ms: number): () => boolean {
  const end = performance.now() + ms;
  return () => performance.now() < end;
}
