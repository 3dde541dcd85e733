import { sleep } from '@teapot-kms/core';
import type { Clock } from '@teapot-kms/core';
import type { ServerView } from './plan.ts';

export interface WaitOptions {
  /** Longest wait in ms at one step. */
  readonly waitMs: number;
  /** ms between two looks. */
  readonly pollMs: number;
  readonly clock: Clock;
}

/** Returns whether there is time to wait once more at a step, after it has waited. */
export function waits({ clock, waitMs, pollMs }: WaitOptions) {
  let waited: { readonly step: string; readonly since: number } | undefined;
  const wait = async (step: string): Promise<boolean> => {
    if (waited?.step !== step) waited = { step, since: clock.now() };
    const leftMs = waited.since + waitMs - clock.now();
    if (leftMs <= 0) return false;
    await sleep(clock, Math.min(pollMs, leftMs));
    return true;
  };
  return Object.assign(wait, { reset: () => (waited = undefined) });
}

/**
 * Whether every kube-apiserver is one that was there before. If not, one has come, was started again, or has used another key: while a scan ran,
 * which may be an hour, it may have written behind the scan.
 */
export function seenBefore(servers: readonly ServerView[], before: readonly ServerView[]): boolean {
  const mark = ({ server, since }: ServerView): string => `${server} ${since}`;
  const known = new Set(before.map(mark));
  return servers.every((one) => known.has(mark(one)));
}
