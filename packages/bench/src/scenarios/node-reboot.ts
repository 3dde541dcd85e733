import { inParallel } from '@teapot-kms/e2e';
import { setTimeout as sleep } from 'node:timers/promises';
import { BenchToken, DECRYPT, decryptsOf, LATENCY_MS, SESSIONS } from '../bench-token.ts';
import type { Keys, Sealed } from '../bench-token.ts';
import { runLoad } from '../load/load.ts';
import { Rig } from '../load/rig.ts';
import { missingTeapotBench } from '../load/teapot-bench.ts';
import { Profiler } from '../profile/capture.ts';
import { monotonicMicroseconds } from '../profile/cpu-profile.ts';
import type { Window } from '../profile/cpu-profile.ts';
import { profileTables } from '../profile/tables.ts';
import type { Recorder } from '../recorder.ts';
import type { Scenario } from '../scenario.ts';
import { median } from '../statistics.ts';

const INSTANCES = 500;
const SEEDS = 40;
const IN_FLIGHT = 4;
const ROUNDS = 3;
/** ms for a started process to settle. Only the cache must be cold. */
const SETTLE_MS = 1_000;

interface Case {
  readonly name: string;
  /** Number of wrapped keys of an instance. Its seeds are spread evenly over them. */
  readonly keys: number;
}

const CASES: readonly [Case, ...Case[]] = [
  { name: 'typical', keys: 5 },
  { name: 'worst', keys: SEEDS },
];

export const nodeReboot: Scenario = {
  name: 'node-reboot',
  about: `a management node reboots: ${INSTANCES} kube-apiservers come back at once, with ${SEEDS} seeds each`,
  missing: () => BenchToken.missing() ?? missingTeapotBench(),
  async run(record) {
    await using rig = new Rig();
    const token = await BenchToken.create(rig.path());
    const tenants = await makeTenants(token);
    const seeds = await Promise.all(CASES.map((one) => sealSeeds(token, tenants, one)));
    await token.close();
    const reboots = CASES.map((): Reboot[] => []);
    for (let round = 0; round < ROUNDS; round++) {
      for (const [index, { keys }] of CASES.entries()) {
        reboots[index]!.push(await reboot(rig, { token, tenants, seeds: seeds[index]!, keys }));
      }
    }
    report(record, reboots);
    // The profile is a run of its own, because profiling takes time.
    const profiler = new Profiler(rig.path(), 500);
    const [{ name, keys }] = CASES;
    const { window } = await reboot(rig, { token, tenants, seeds: seeds[0]!, keys, profiler });
    for (const table of profileTables({ nodes: profiler.read(window), calls: INSTANCES * SEEDS })) {
      record.table(`${name}. ${table.name}`, table.columns, table.rows);
    }
  },
};

interface Tenant {
  readonly name: string;
  readonly keys: Keys;
  readonly contextId: Buffer;
}

/** Creates a keyset for each tenant. All of them use one key of the token. */
async function makeTenants(token: BenchToken): Promise<Tenant[]> {
  const tenants: Tenant[] = [];
  const names = Array.from({ length: INSTANCES }, (_, index) => `tenant-${index}`);
  await inParallel(names, SESSIONS, async (name) => {
    tenants.push({ name, ...(await token.addKeyset(name)) });
  });
  return tenants;
}

/** Seals the seeds of each tenant's cluster, in the order of `tenants`. */
function sealSeeds(token: BenchToken, tenants: readonly Tenant[], { keys }: Case): Promise<Sealed[][]> {
  return Promise.all(tenants.map(({ contextId }) => token.seal(contextId, SEEDS, SEEDS / keys)));
}

interface Reboot {
  /** Time until all instances report Status ok. */
  readonly startMs: number;
  /** Time from then until all seeds are decrypted. */
  readonly ms: number;
  /** `ms` ÷ the least time that the token needs. */
  readonly ratio: number;
  /** CPU of the plugin and its token host. */
  readonly cpuMs: number;
  /** Time until the median tenant has all its seeds. */
  readonly medianTenantMs: number;
  /** The time in which the seeds were decrypted. */
  readonly window: Window;
}

interface RebootOptions {
  readonly token: BenchToken;
  readonly tenants: readonly Tenant[];
  readonly seeds: readonly (readonly Sealed[])[];
  readonly keys: number;
  readonly profiler?: Profiler;
}

async function reboot(rig: Rig, { token, tenants, seeds, keys, profiler }: RebootOptions): Promise<Reboot> {
  // Health probes would add unwraps to those that are counted here.
  const instances = tenants.map(({ name, keys }) => ({ name, keys, probeInterval: '1h' }));
  const started = performance.now();
  const plugin = await rig.start({ instances, ...(profiler && { nodeArgs: profiler.nodeArgs }) });
  const startMs = performance.now() - started;
  await sleep(SETTLE_MS);
  token.slowFromNow();
  const cpuBefore = plugin.cpuSeconds();
  const from = monotonicMicroseconds();
  const { seconds, targetsDoneAtMs } = await runLoad({
    method: DECRYPT,
    once: true,
    targets: plugin.sockets.map((socket, index) => ({ socket, inFlight: IN_FLIGHT, ...decryptsOf(seeds[index]!) })),
  });
  const window = [from, monotonicMicroseconds()] as const;
  const cpuMs = (plugin.cpuSeconds() - cpuBefore) * 1_000;
  const distinct = INSTANCES * keys;
  if (token.unwraps !== distinct) throw new Error(`${token.unwraps} unwraps of ${distinct} wrapped keys`);
  await plugin.stop();
  return {
    startMs,
    ms: seconds * 1_000,
    ratio: (seconds * 1_000) / ((distinct * LATENCY_MS) / SESSIONS),
    cpuMs,
    medianTenantMs: median(targetsDoneAtMs!),
    window,
  };
}

function report(record: Recorder, reboots: readonly (readonly Reboot[])[]): void {
  for (const [index, { name, keys }] of CASES.entries()) {
    const of = (pick: (reboot: Reboot) => number): number[] => reboots[index]!.map(pick);
    const what = `${name} (${keys} wrapped keys an instance)`;
    record.measured(
      `${what}: ${INSTANCES * SEEDS} Decrypts`,
      'ms',
      of(({ ms }) => ms),
    );
    record.measured(
      `${what}: until the median tenant has its seeds`,
      'ms',
      of((one) => one.medianTenantMs),
    );
    record.measured(
      `${what}: CPU of the plugin and its token host`,
      'ms',
      of(({ cpuMs }) => cpuMs),
    );
    record.measured(
      `${what}: ÷ (keys × ${LATENCY_MS} ms ÷ ${SESSIONS} sessions)`,
      '×',
      of(({ ratio }) => ratio),
    );
  }
  const starts = reboots.flat().map(({ startMs }) => startMs);
  record.measured(`start until all ${INSTANCES} instances give a good Status`, 'ms', starts);
  const ratios = reboots.map((all) => all.map(({ ratio }) => ratio));
  record.figure('node-reboot', ratios.toSorted((a, b) => median(b) - median(a))[0]!);
}
