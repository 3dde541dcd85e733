import { sleep } from '@teapot-kms/core';
import type { Clock } from '@teapot-kms/core';
import type { ScanReport } from '../inspect/scan-report.ts';
import { plan } from './plan.ts';
import type { Plan, PlanInput, Step } from './plan.ts';
import { remainderOf, stuck } from './remainder.ts';
import type { Remainder } from './remainder.ts';

/** What an operator may stop after. */
export const PHASES = ['generate', 'promote', 'rewrite', 'retire'] as const;
export type Phase = (typeof PHASES)[number];

/** The phase that a step belongs to. The others end a run. */
const PHASE_OF: Readonly<Partial<Record<Step, Phase>>> = {
  preflight: 'generate',
  generate: 'generate',
  'wait-for-replicas': 'promote',
  promote: 'promote',
  'wait-for-servers': 'rewrite',
  rewrite: 'rewrite',
  scan: 'rewrite',
  retire: 'retire',
};

/** What a rotation does to the world. Each may be repeated, also after it was killed in the middle. */
export interface RotationSteps {
  /**
   * What is there now.
   * @param scan - the last one of this run
   * @param asksServers - whether a step that concerns the kube-apiservers may come: no other needs a cluster
   */
  look(scan: ScanReport | undefined, asksServers: boolean): Promise<PlanInput>;
  /** Brings the keyset to the other replicas. */
  distribute(): Promise<void>;
  generate(): Promise<void>;
  promote(keyId: string): Promise<void>;
  scan(): Promise<ScanReport>;
  /** @param resources - as a scan names them */
  rewrite(resources: readonly string[]): Promise<void>;
  retire(keyId: string, scan: ScanReport): Promise<void>;
}

export interface PerformOptions {
  /** The last phase that is done. */
  readonly through: Phase;
  /** Longest wait in ms at one step. */
  readonly waitMs: number;
  /** ms between two looks. */
  readonly pollMs: number;
  readonly clock: Clock;
  /** Receives each step that begins, and what it waits for. */
  readonly say: (next: Plan) => void;
}

export interface Outcome {
  /** `waited`: too long. `through`: the phase that was asked for is done. */
  readonly end: 'done' | 'through' | 'waited' | 'blocked';
  /** The step that was not taken. */
  readonly next: Plan;
}

/**
 * Takes the steps of a rotation until it is done, must wait too long, or only an operator can go on. It keeps nothing: what {@link plan} says
 * depends on the keyset and the cluster only, so it can be killed anywhere and run again.
 * @throws {@link KmsError} of a step. A new run goes on from there
 */
export async function perform(steps: RotationSteps, options: PerformOptions): Promise<Outcome> {
  const wait = waits(options);
  const asksServers = PHASES.indexOf(options.through) >= PHASES.indexOf('rewrite');
  // A run that was killed may not have brought its change to the other replicas.
  const run: Run = { scan: undefined, servers: [], before: undefined, distributed: false, changed: false };
  for (;;) {
    if (!run.distributed) await steps.distribute();
    run.distributed = true;
    const seen = withoutOldScan(await steps.look(run.scan, asksServers), run);
    const planned = plan(seen);
    const left = planned.step === 'rewrite' ? remainderOf(run.scan!, seen.manifest!) : undefined;
    const next = (left && stuck(left, run.before)) ?? planned;
    const phase = PHASE_OF[next.step];
    if (phase === undefined) return { end: next.step === 'done' ? 'done' : 'blocked', next };
    // With --older-than 0s every primary is due. One run is one rotation.
    if (run.changed && phase === 'generate') return { end: 'done', next: rotatedTo(seen.manifest!.primary) };
    if (PHASES.indexOf(phase) > PHASES.indexOf(options.through)) return { end: 'through', next };
    options.say(next);
    if (WAITING.includes(next.step)) {
      // Whatever was scanned, a kube-apiserver may have written since.
      run.scan = undefined;
      if (!(await wait(next.step))) return { end: 'waited', next };
    } else {
      if (next.step === 'scan') run.servers = seen.servers;
      await take(steps, next, run, left);
      wait.reset();
    }
  }
}

/** What one run knows beyond the keyset and the cluster. */
interface Run {
  scan: ScanReport | undefined;
  /** As they were when this scan began. */
  servers: PlanInput['servers'];
  /** Objects that the last scan found under older keys, if they were rewritten after it. */
  before: number | undefined;
  distributed: boolean;
  changed: boolean;
}

/**
 * Takes a scan away that says nothing any more: while it ran, which may be an hour, a kube-apiserver has come, was started again, or has used another
 * key, with which it may have written behind the scan.
 */
function withoutOldScan(seen: PlanInput, run: Run): PlanInput {
  const marks = (servers: PlanInput['servers']): readonly string[] =>
    servers.map(({ server, since }) => `${server} ${since}`);
  const known = new Set(marks(run.servers));
  if (!run.scan || marks(seen.servers).every((mark) => known.has(mark))) return seen;
  run.scan = undefined;
  return { ...seen, scans: undefined };
}

async function take(steps: RotationSteps, next: Plan, run: Run, left: Remainder | undefined): Promise<void> {
  if (next.step === 'scan') {
    run.scan = await steps.scan();
  } else if (next.step === 'rewrite') {
    await steps.rewrite(left!.resources);
    [run.scan, run.before] = [undefined, left!.objects];
  } else {
    if (next.step === 'generate') await steps.generate();
    else if (next.step === 'promote') await steps.promote(next.keyId!);
    else await steps.retire(next.keyId!, run.scan!);
    [run.distributed, run.changed] = [false, true];
  }
}

const WAITING: readonly Step[] = ['preflight', 'wait-for-replicas', 'wait-for-servers'];

const rotatedTo = (keyId: string): Plan => ({
  step: 'done',
  keyId,
  reason: `key ${keyId} is the primary, and no older key is in use`,
  remedy: 'nothing; another run may begin the next rotation',
});

/** Returns whether there is time to wait once more at a step, after it has waited. */
function waits({ clock, waitMs, pollMs }: PerformOptions) {
  let waited: { readonly step: Step; readonly since: number } | undefined;
  const wait = async (step: Step): Promise<boolean> => {
    if (waited?.step !== step) waited = { step, since: clock.now() };
    const leftMs = waited.since + waitMs - clock.now();
    if (leftMs <= 0) return false;
    await sleep(clock, Math.min(pollMs, leftMs));
    return true;
  };
  return Object.assign(wait, { reset: () => (waited = undefined) });
}
