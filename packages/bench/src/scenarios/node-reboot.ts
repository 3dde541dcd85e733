import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { inParallel } from '../../../../k8s/e2e/src/objects.ts';
import { BenchToken, LATENCY_MS, SESSIONS } from '../bench-token.ts';
import type { Keys, Sealed } from '../bench-token.ts';
import { load } from './tmp-load.ts';
import { PluginProcess } from '../plugin-process.ts';
import type { Recorder } from '../recorder.ts';
import type { Scenario } from '../scenario.ts';
import { median } from '../statistics.ts';

const INSTANCES = 500;
const SEEDS = 40;
const IN_FLIGHT = 4;
const ROUNDS = 3;
/** ms in which a process that has just started comes to rest: what is cold here is the cache. */
const SETTLE_MS = 1_000;

interface Case {
  readonly name: string;
  /** Wrapped keys over which the seeds of an instance are spread. */
  readonly keys: number;
}

const CASES: readonly Case[] = [
  { name: 'typical', keys: 5 },
  { name: 'worst', keys: SEEDS },
];

export const nodeReboot: Scenario = {
  name: 'node-reboot',
  about: `a management node reboots: ${INSTANCES} kube-apiservers come back at once, with ${SEEDS} seeds each`,
  missing: () => BenchToken.missing() ?? PluginProcess.missing(),
  async run(record) {
    const directory = mkdtempSync(join(tmpdir(), 'teapot-bench-'));
    try {
      const token = await BenchToken.create(directory);
      const tenants = await makeTenants(token, directory);
      const seeds = await Promise.all(CASES.map((one) => sealSeeds(token, tenants, one)));
      await token.close();
      const reboots = CASES.map((): Reboot[] => []);
      for (let round = 0; round < ROUNDS; round++) {
        for (const [index, one] of CASES.entries()) {
          reboots[index]!.push(await reboot({ directory, token, tenants, seeds: seeds[index]!, keys: one.keys }));
        }
      }
      report(record, reboots);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  },
};

interface Tenant {
  readonly name: string;
  readonly socket: string;
  readonly keys: Keys;
  readonly contextId: Buffer;
}

/** A keyset of its own each, over one key of the token. */
async function makeTenants(token: BenchToken, directory: string): Promise<Tenant[]> {
  const tenants: Tenant[] = [];
  const names = Array.from({ length: INSTANCES }, (_, index) => `tenant-${index}`);
  await inParallel(names, SESSIONS, async (name) => {
    tenants.push({ name, socket: join(directory, 'run', name, 'kms.sock'), ...(await token.addKeyset(name)) });
  });
  return tenants;
}

/** What each tenant's cluster holds, in the order of `tenants`. */
function sealSeeds(token: BenchToken, tenants: readonly Tenant[], { keys }: Case): Promise<Sealed[][]> {
  return Promise.all(tenants.map(({ contextId }) => token.seal(contextId, SEEDS, SEEDS / keys)));
}

interface Reboot {
  readonly ms: number;
  /** By what the token needs for it at least. */
  readonly ratio: number;
  /** ms until the median tenant had all its seeds. */
  readonly medianTenantMs: number;
}

interface RebootOptions {
  readonly directory: string;
  readonly token: BenchToken;
  readonly tenants: readonly Tenant[];
  readonly seeds: readonly (readonly Sealed[])[];
  readonly keys: number;
}

async function reboot({ directory, token, tenants, seeds, keys }: RebootOptions): Promise<Reboot> {
  // A probe asks the token too, and what is counted here are unwraps.
  const instances = tenants.map(({ name, socket, keys }) => ({ name, socket, keys, probeInterval: '1h' }));
  const plugin = new PluginProcess({ directory, instances, nodeArgs: (process.env['PROF'] ?? '').split(' ').filter(Boolean) });
  try {
    await plugin.untilReady();
    await sleep(SETTLE_MS);
    token.slowFromNow();
    const result = await load(
      directory,
      tenants.map(({ socket }, index) => ({ socket, connections: 1, inFlight: IN_FLIGHT, sealed: seeds[index]! })),
    );
    const distinct = INSTANCES * keys;
    if (token.unwraps !== distinct) throw new Error(`${token.unwraps} unwraps of ${distinct} wrapped keys`);
    const ms = result.seconds * 1_000;
    console.log(process.env['PROF'], ms, result);
    return {
      ms,
      ratio: ms / ((distinct * LATENCY_MS) / SESSIONS),
      medianTenantMs: median(result.targetsDoneAtMs),
    };
  } finally {
    await plugin.stop();
  }
}

function report(record: Recorder, reboots: readonly (readonly Reboot[])[]): void {
  for (const [index, { name, keys }] of CASES.entries()) {
    const all = reboots[index]!;
    const what = `${name} (${keys} wrapped keys an instance)`;
    record.measured(
      `${what}: all ${INSTANCES * SEEDS} Decrypts`,
      'ms',
      all.map(({ ms }) => ms),
    );
    record.measured(
      `${what}: the median tenant has all of its seeds after`,
      'ms',
      all.map(({ medianTenantMs }) => medianTenantMs),
    );
    record.measured(
      `${what}: ÷ (keys × ${LATENCY_MS} ms ÷ ${SESSIONS} sessions)`,
      '×',
      all.map(({ ratio }) => ratio),
    );
  }
  const ratios = reboots.map((all) => all.map(({ ratio }) => ratio));
  record.figure('node-reboot', ratios.toSorted((a, b) => median(b) - median(a))[0]!);
}
