import { systemClock } from '@teapot-kms/core';
import { Option } from 'commander';
import { OLD_SEED_MS } from '../rotate/scan-evidence.ts';
import { durationOf, durationOption } from './duration-option.ts';
import { UsageError } from './exit-codes.ts';
import { printError } from './output.ts';

/** A step of a rotation or migration. */
interface ShownStep {
  readonly step: string;
  readonly reason: string;
  readonly remedy: string;
}

/** ms between two looks at what a step waits for. */
export const POLL_MS = 5_000;
const WAIT_MS = 15 * 60_000;
/** ms between two lines of the same step that waits. */
const SAY_MS = 30_000;

/** Whether there is nothing to do at a step but to wait, or something is wrong. */
export const isWaiting = (step: string): boolean =>
  step.startsWith('wait-for-') || step === 'preflight' || step === 'blocked';

/** Prints each step once, and every half a minute what it still waits for. */
export function sayer(): (next: ShownStep) => void {
  let last = { step: '', reason: '', at: 0 };
  return ({ step, reason, remedy }) => {
    const at = systemClock.now();
    if (last.step === step && (last.reason === reason || at < last.at + SAY_MS)) return;
    printError(`${step}: ${reason}${isWaiting(step) ? `\n  ${remedy}` : ''}`);
    last = { step, reason, at };
  };
}

/** Prints problems that were not there at the look before: a step looks every few seconds, for minutes. */
export function newProblems(say: (problem: string) => void = printError): (problems: readonly string[]) => void {
  let before: readonly string[] = [];
  return (problems) => {
    for (const problem of new Set(problems)) if (!before.includes(problem)) say(problem);
    before = problems;
  };
}

export const textOf = ({ step, reason, remedy }: ShownStep): string =>
  `step  ${step}\nwhy   ${indented(reason)}\nnext  ${indented(remedy)}`;

const indented = (lines: string): string => lines.replaceAll('\n', '\n      ');

export const waitOption = (): Option => durationOption('--wait <duration>', 'longest wait at one step', WAIT_MS, '15m');

/**
 * @param what - what must have lasted so long
 * @param leastMs - the least that is allowed
 */
export const settleOption = (what: string, leastMs: number): Option =>
  new Option('--settle <duration>', `${what}; at least 3m, as long as its old seed lives`)
    .argParser((text) => settleOf(text, leastMs))
    .default(OLD_SEED_MS, '3m');

/** @throws {@link UsageError} for less than an old seed lives */
function settleOf(text: string, leastMs: number): number {
  const ms = durationOf('--settle')(text);
  if (ms >= leastMs) return ms;
  throw new UsageError('--settle: expected at least 3m: a kube-apiserver may write with its old seed for that long');
}
