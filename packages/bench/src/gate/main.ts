/**
 * What must not get worse, each with its bound in bounds.ts: calls counted, bytes allocated, and CPU time of a case ÷
 * that of its base. A value over its limit is measured again in another process before it counts.
 *
 * usage: main.ts [--without-ratios] [--measure]
 *   --without-ratios  only what does not depend on how busy the machine is (`npm run bench:counters`, part of `npm test`)
 *   --measure         print the lines for bounds.ts instead of comparing with it
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { inOwnProcess } from '../own-process.ts';
import { show } from '../recorder.ts';
import { median, spread } from '../statistics.ts';
import { ALLOCATIONS, COUNTERS, limitOf, RATIOS } from './bounds.ts';
import type { Bound } from './bounds.ts';
import { countCalls } from './counters.ts';
import { countTurns } from './fairness-counters.ts';
import { countTokenCalls, missingToken } from './token-counters.ts';

/** Processes in which a ratio or an allocation is measured before it is called too high. */
const TRIES = 3;
/** Processes of which --measure takes the noise. */
const MEASURED_RUNS = 9;

const { values } = parseArgs({
  options: {
    'without-ratios': { type: 'boolean', default: false },
    measure: { type: 'boolean', default: false },
  },
});
const measured: readonly (readonly [What, Readonly<Record<string, Bound>>])[] = [
  ['bytes', ALLOCATIONS],
  ...(values['without-ratios'] ? [] : [['ratio', RATIOS] as const]),
];
const started = performance.now();
const skipped: string[] = [];
let passed = 0;
let failed = 0;

function judge(what: string, name: string, found: number, bound: Bound): void {
  const limit = limitOf(bound);
  const ok = found <= limit;
  if (ok) passed++;
  else failed++;
  const noise = bound.noise === 0 ? '' : ` ±${show(bound.noise * 100)} %`;
  const numbers = `${show(found).padStart(7)}, was ${show(bound.measured)}${noise}, limit ${show(limit)}`;
  console.log(`${ok ? 'ok  ' : 'FAIL'} ${what.padEnd(8)} ${name.padEnd(58)} ${numbers}`);
}

async function gateCounters(): Promise<void> {
  const missing = missingToken();
  if (missing !== undefined) skipped.push(`SKIPPED counters of a token: ${missing}`);
  const counted = {
    ...(await countCalls()),
    ...(await countTurns()),
    ...(missing === undefined && (await countTokenCalls())),
  };
  for (const [name, bound] of Object.entries(COUNTERS)) {
    const found = (counted as Partial<Record<string, number>>)[name];
    if (found !== undefined) judge('counter', name, found, bound);
    // A counter that nothing fills would never be judged.
    else if (missing === undefined) judge('counter', `${name}: not counted`, Infinity, bound);
  }
}

type What = 'ratio' | 'bytes';

/** By the case's name, in a process of its own. */
function measure(what: What, names: readonly string[]): [string, number][] {
  const found = inOwnProcess(join(import.meta.dirname, 'measure.ts'), [what, ...names]);
  return Object.entries(found as Record<string, number>);
}

/** A value that is too high is measured again; the median of the tries counts. It is not the lowest, as a disturbed base makes a ratio too low. */
function gate(what: What, bounds: Readonly<Record<string, Bound>>): void {
  const tries = new Map(Object.keys(bounds).map((name): [string, number[]] => [name, []]));
  const tooHigh = (name: string): boolean => {
    const found = tries.get(name)!;
    return found.length === 0 || median(found) > limitOf(bounds[name]!);
  };
  for (let round = 0; round < TRIES; round++) {
    const names = [...tries.keys()].filter(tooHigh);
    if (names.length > 0) for (const [name, found] of measure(what, names)) tries.get(name)!.push(found);
  }
  for (const [name, found] of tries) judge(what, name, median(found), bounds[name]!);
}

/** The rows of a table with new numbers. */
function printBounds(what: What, bounds: Readonly<Record<string, Bound>>): void {
  const names = Object.keys(bounds);
  const runs = Array.from({ length: MEASURED_RUNS }, () => new Map(measure(what, names)));
  for (const name of names) {
    const found = runs.map((run) => run.get(name)!);
    console.log(`  '${name}': about(${Number(median(found).toPrecision(3))}, ${spread(found).toFixed(3)}),`);
  }
}

if (values.measure) {
  for (const [what, bounds] of measured) printBounds(what, bounds);
} else {
  await gateCounters();
  for (const [what, bounds] of measured) gate(what, bounds);
  for (const line of skipped) console.log(line);
  console.log(`in ${((performance.now() - started) / 1000).toFixed(0)} s`);
  console.log(`${passed} passed, ${failed} failed, ${skipped.length} skipped`);
  process.exitCode = failed > 0 ? 1 : 0;
}
