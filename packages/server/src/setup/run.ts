import { sleep } from '@teapot-kms/core';
import { positionOf } from '../kubernetes/encryption-providers.ts';
import { apply, readJournal, removeJournal, revert, writeJournal } from './journal.ts';
import type { Journal } from './journal.ts';
import { plan } from './plan.ts';
import { unusedImport } from './plan-encryption.ts';
import type { Plan, PlanInput, ServerState, Step, Wish } from './plan-input.ts';
import { namedConfiguration, positionNow } from './plan-parts.ts';
import { SetupError } from './setup-error.ts';
import { observe } from './site.ts';
import type { Site } from './site.ts';

/** Steps at which a run ends. */
const ENDS: readonly Step[] = ['wait-for-servers', 'rewrite', 'join', 'done', 'blocked'];
/** More steps than any way has. */
const MAX_STEPS = 20;
/** ms between two looks at kube-apiserver. */
const LOOK_MS = 1_000;

/**
 * Takes the steps of a setup until it is done, or waits for somebody. After a kill at any point, it is called again and goes on.
 * @param timeoutMs - for each step. One that does not succeed is rolled back
 * @returns the step at which it ended
 * @throws {@link SetupError}, {@link KmsError}
 */
export async function run(site: Site, wish: Wish, timeoutMs: number): Promise<Plan> {
  await finishInterrupted(site, wish, timeoutMs);
  let imported = false;
  for (let steps = 0; steps < MAX_STEPS; steps++) {
    const input = await look(site, wish);
    const unused: string | undefined = imported ? undefined : unusedImport(input);
    if (unused !== undefined) site.tell(unused);
    const next = plan(input);
    imported ||= unused !== undefined || next.step === 'keyset';
    if (ENDS.includes(next.step)) return next;
    site.report(next);
    await take(site, wish, { input, next, timeoutMs });
  }
  throw new SetupError('ERR_SETUP_FAILED', `no end after ${MAX_STEPS} steps`, 'report this as a bug');
}

/**
 * What the next step depends on.
 * @param how - an undo asks each kube-apiserver to write something, once this one no longer writes through the plugin
 */
export async function look(
  site: Site,
  wish: Wish,
  how: 'with-probes' | 'without-probes' = 'with-probes',
): Promise<PlanInput> {
  const input = await observe(site, wish, namedConfiguration);
  const asks = how === 'with-probes' && wish.undo && input.server?.startedAt !== undefined;
  if (!asks || positionNow(input) !== 'reads') return input;
  const others = [];
  for (const other of input.others) {
    others.push(other.startedAt === undefined ? other : { ...other, writes: await site.writes(other.name) });
  }
  const quiet = others.every(({ writes }) => writes === false);
  return { ...input, others, needed: quiet ? await site.needed() : undefined };
}

async function take(
  site: Site,
  wish: Wish,
  { input, next, timeoutMs }: { input: PlanInput; next: Plan; timeoutMs: number },
): Promise<void> {
  const journal = { step: next.step, files: next.files, startedAt: input.server?.startedAt };
  if (next.step === 'keyset') return site.makeKeyset();
  if (next.step === 'kubeadm') return site.setClusterConfiguration(next.clusterConfiguration!);
  if (next.step === 'configuration') return apply(site, journal);
  // Without files, there is nothing to undo, and the next run plans the same step.
  if (next.files.length > 0) await writeJournal(site, journal);
  return finish(site, wish, journal, timeoutMs);
}

/** A step that was interrupted is finished, or rolled back. If somebody has changed its files since, what is there counts. */
async function finishInterrupted(site: Site, wish: Wish, timeoutMs: number): Promise<void> {
  const journal = await readJournal(site);
  if (!journal) return;
  site.report({ step: journal.step, reason: 'an interrupted step is finished, or rolled back', files: journal.files });
  try {
    await finish(site, wish, journal, timeoutMs);
  } catch (error) {
    if (!(error instanceof SetupError) || error.code !== 'ERR_SETUP_CHANGED') throw error;
    await removeJournal(site);
  }
}

async function finish(site: Site, wish: Wish, journal: Journal, timeoutMs: number): Promise<void> {
  await apply(site, journal);
  if (journal.step === 'plugin') await site.startPlugin();
  const problem = await within(site, timeoutMs, () => problemOf(site, wish, journal));
  if (problem === undefined) return removeJournal(site);
  await rollBack(site, wish, { journal, problem, timeoutMs });
}

/** Why a step has not succeeded yet; `undefined` if it has. */
async function problemOf(site: Site, wish: Wish, { step, files, startedAt }: Journal): Promise<string | undefined> {
  if (step === 'plugin') return problemIn(await site.plugin());
  const server = await site.server();
  if (server.startedAt === undefined) return notReady(server);
  if (files.some(({ path }) => path === wish.manifestFile) && server.startedAt === startedAt) {
    return 'kube-apiserver has not started with its new manifest';
  }
  if (step === 'remove') return server.keyIdHash === undefined ? undefined : 'kube-apiserver still uses the plugin';
  if (step === 'read') {
    const plugin = await site.plugin();
    if ('problem' in plugin) return problemIn(plugin);
    return server.keyIdHash === plugin.keyIdHash ? undefined : 'kube-apiserver does not read through the plugin';
  }
  const writes = await site.writes();
  if (writes === (step === 'write')) return undefined;
  return writes ? 'kube-apiserver still writes through the plugin' : 'kube-apiserver does not write through the plugin';
}

const notReady = ({ problem }: ServerState): string => `kube-apiserver is not ready: ${problem}`;

const problemIn = (plugin: PlanInput['plugin']): string | undefined =>
  'problem' in plugin ? `the plugin does not answer: ${plugin.problem}` : undefined;

/**
 * Undoes a step that did not succeed. Each step has what is safe before it: KMS is second before it writes. The one that makes KMS known can only be
 * undone while no object needs it.
 * @throws {@link SetupError} always
 */
async function rollBack(
  site: Site,
  wish: Wish,
  { journal, problem, timeoutMs }: { journal: Journal; problem: string; timeoutMs: number },
): Promise<never> {
  const what = `step ${journal.step} did not succeed in ${timeoutMs / 1_000} s: ${problem}`;
  if (journal.files.length === 0) {
    await removeJournal(site);
    throw new SetupError('ERR_SETUP_FAILED', what, 'run "teapot-kms doctor", and then this command again');
  }
  if ((await removesProvider(site, journal, wish)) && (await mayBeNeeded(site))) {
    // Without the journal, the next run waits again.
    await removeJournal(site);
    throw new SetupError(
      'ERR_SETUP_KEPT',
      `${what}\nthe provider stays, because objects in etcd may need it`,
      'run "teapot-kms doctor" and look at the log of kube-apiserver; then run this command again',
    );
  }
  const foreign = await revert(site, journal);
  await removeJournal(site);
  const lines = [what, 'the changes of this step are undone'];
  if (foreign.length > 0) lines.push(`changed by somebody else, and left as they are: ${foreign.join(', ')}`);
  if (journal.step === 'plugin')
    throw new SetupError(
      'ERR_SETUP_ROLLED_BACK',
      lines.join('\n'),
      'look at the log of its container, and run "teapot-kms doctor"',
    );
  const after = await within(site, timeoutMs, async () => {
    const server = await site.server();
    return server.startedAt === undefined ? notReady(server) : undefined;
  });
  lines.push(after ?? 'kube-apiserver is ready');
  const remedy = `look at the log of kube-apiserver and run "teapot-kms doctor"; backups are in ${site.backupDirectory}`;
  throw new SetupError('ERR_SETUP_ROLLED_BACK', lines.join('\n'), remedy);
}

/** Whether undoing a step takes the provider away from kube-apiserver: before it, its configuration had none. */
async function removesProvider(site: Site, { step, files }: Journal, wish: Wish): Promise<boolean> {
  if (step !== 'read') return false;
  const before = new Map<string, string>();
  const look = async (path: string): Promise<void> => {
    const change = files.find((one) => one.path === path);
    const text = change ? change.before : await site.files.read(path);
    if (text !== undefined) before.set(path, text);
  };
  await look(wish.manifestFile);
  const named = namedConfiguration({ wish, files: before });
  if (named === undefined) return true;
  await look(named);
  return positionOf(before.get(named), named, wish.provider.name) === 'absent';
}

/** Where etcd cannot be read, another kube-apiserver that knows the provider may have written. */
async function mayBeNeeded(site: Site): Promise<boolean> {
  site.tell('looking whether objects in etcd need the plugin');
  const needed = await site.needed(1);
  if (needed !== undefined) return needed > 0;
  const others = await site.others().catch(() => undefined);
  return (
    others === undefined ||
    others.some(({ keyIdHash, startedAt }) => keyIdHash !== undefined || startedAt === undefined)
  );
}

/** Looks again and again. @returns `undefined`, or what was still wrong at the end */
async function within(
  { clock }: Site,
  timeoutMs: number,
  problem: () => Promise<string | undefined>,
): Promise<string | undefined> {
  const end = clock.now() + timeoutMs;
  for (;;) {
    // What is asked may restart, so that an error is no end.
    const found = await problem().catch((error: unknown) => (error as Error).message);
    if (found === undefined || clock.now() >= end) return found;
    await sleep(clock, LOOK_MS);
  }
}
