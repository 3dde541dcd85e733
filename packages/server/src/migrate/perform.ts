import type { ScanReport } from '../inspect/scan-report.ts';
import type { Plan, ServerView } from '../rotate/plan.ts';
import { stuck } from '../rotate/remainder.ts';
import type { Remainder } from '../rotate/remainder.ts';
import { seenBefore, waits } from '../rotate/waiting.ts';
import type { WaitOptions } from '../rotate/waiting.ts';
import { hasLoaded, planMigration } from './plan.ts';
import type { MigrationInput, MigrationPlan, MigrationStep } from './plan.ts';

/** What is there now: all of {@link MigrationInput} that this run does not know itself. */
export type Seen = Omit<MigrationInput, 'left' | 'loadedForMs'>;

/** What a migration does to the world. Each may be repeated, also after it was killed in the middle. */
export interface MigrationSteps {
  look(): Promise<Seen>;
  /** Installs the next EncryptionConfiguration. @returns whether it is there now, or only a person can do that */
  configure(text: string): Promise<boolean>;
  scan(): Promise<ScanReport>;
  /** What a scan has found elsewhere than where it is to be. */
  remainder(scan: ScanReport, seen: Seen): Remainder;
  /** @param resources - as a scan names them */
  rewrite(resources: readonly string[]): Promise<void>;
}

export interface MigrationOptions extends WaitOptions {
  /** Whether only the next step is wanted. */
  readonly dryRun: boolean;
  /** Receives each step that begins, and what it waits for. */
  readonly say: (next: MigrationPlan | Plan) => void;
}

export interface MigrationOutcome {
  /** `waited`: too long. `blocked`: only an operator can go on. `planned`: nothing was done, as was wanted. */
  readonly end: 'done' | 'waited' | 'blocked' | 'planned';
  /** The step that was not taken. */
  readonly next: MigrationPlan | Plan;
}

const WAITING: readonly MigrationStep[] = ['wait-for-replicas', 'wait-for-configuration', 'wait-for-servers'];

/** What one run knows beyond the cluster. */
interface Run {
  scan: ScanReport | undefined;
  /** As they were when this scan began. */
  servers: readonly ServerView[];
  /** Objects that the last scan found elsewhere, if they were rewritten after it. */
  before: number | undefined;
  /** Which configuration every kube-apiserver has loaded, and since when, in ms. */
  loaded: { readonly hash: string; readonly since: number } | undefined;
}

/**
 * Takes the steps of a migration until it is done, must wait too long, or only an operator can go on. It keeps nothing, so it can be killed
 * anywhere and run again.
 * @throws {@link KmsError} of a step. A new run goes on from there
 */
export async function performMigration(steps: MigrationSteps, options: MigrationOptions): Promise<MigrationOutcome> {
  const { clock, dryRun, say } = options;
  const wait = waits(options);
  const run: Run = { scan: undefined, servers: [], before: undefined, loaded: undefined };
  for (;;) {
    const seen = await steps.look();
    run.loaded = loadedSince(seen, run, clock.now());
    if (!seenBefore(seen.servers, run.servers)) run.scan = undefined;
    const left = run.scan && steps.remainder(run.scan, seen);
    const loadedForMs = run.loaded ? clock.now() - run.loaded.since : 0;
    const planned = planMigration({ ...seen, left, loadedForMs });
    const next = (planned.step === 'rewrite' && stuck(left!, run.before)) || planned;
    if (dryRun) return { end: 'planned', next };
    if (next.step === 'done') return { end: 'done', next };
    if (next.step === 'drop-stores' || next.step === 'blocked') return { end: 'blocked', next };
    say(next);
    if (WAITING.includes(next.step)) {
      // Whatever was scanned, a kube-apiserver may have written since.
      run.scan = undefined;
      if (!(await wait(next.step))) return { end: 'waited', next };
      continue;
    }
    if (next.step === 'configure') {
      if (!(await steps.configure(seen.order.next!.text))) return { end: 'blocked', next };
      run.scan = undefined;
    } else if (next.step === 'scan') {
      run.servers = seen.servers;
      run.scan = await steps.scan();
    } else {
      await steps.rewrite(left!.resources);
      [run.scan, run.before] = [undefined, left!.objects];
    }
    wait.reset();
  }
}

/** A file that was changed, or a kube-apiserver that has not loaded it, begins anew. */
function loadedSince(seen: Seen, run: Run, now: number): Run['loaded'] {
  const { order, servers } = seen;
  if (servers.length === 0 || !servers.every((one) => hasLoaded(one, seen))) return undefined;
  return run.loaded?.hash === order.hash ? run.loaded : { hash: order.hash, since: now };
}
