import type { ScanReport } from '../inspect/scan-report.ts';
import { plan } from './plan.ts';
import type { Plan, PlanInput, Step } from './plan.ts';
import { oldRows, remainderOf, stuck } from './remainder.ts';
import type { Remainder } from './remainder.ts';
import { seenBefore, waits } from './waiting.ts';
import type { WaitOptions } from './waiting.ts';

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
  /** @param primary - which the new key follows */
  generate(primary: string): Promise<void>;
  promote(keyId: string): Promise<void>;
  scan(): Promise<ScanReport>;
  /** @param resources - as a scan names them */
  rewrite(resources: readonly string[]): Promise<void>;
  retire(keyId: string, scan: ScanReport): Promise<void>;
}

export interface PerformOptions extends WaitOptions {
  /** The last phase that is done. */
  readonly through: Phase;
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
    const left = planned.step === 'rewrite' ? remainderOf(oldRows(run.scan!, seen.manifest!)) : undefined;
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
      await take(steps, next, run, { left, primary: seen.manifest?.primary });
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

/** Takes a scan away that says nothing any more. */
function withoutOldScan(seen: PlanInput, run: Run): PlanInput {
  if (!run.scan || seenBefore(seen.servers, run.servers)) return seen;
  run.scan = undefined;
  return { ...seen, scans: undefined };
}

async function take(
  steps: RotationSteps,
  next: Plan,
  run: Run,
  { left, primary }: { readonly left: Remainder | undefined; readonly primary: string | undefined },
): Promise<void> {
  if (next.step === 'scan') {
    run.scan = await steps.scan();
  } else if (next.step === 'rewrite') {
    await steps.rewrite(left!.resources);
    [run.scan, run.before] = [undefined, left!.objects];
  } else {
    if (next.step === 'generate') await steps.generate(primary!);
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
