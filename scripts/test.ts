/**
 * `npm test`: runs every check and test, goes on after a failure, and prints one summary at the end. The last line is
 * `N passed, N failed, N skipped`, over all of them; a check such as lint counts as one. With CI=true a skip fails.
 *
 * usage: test.ts [--full] [--busy] [--only STEP]...
 *   --full  all Kubernetes minors, every scenario, real waits, endurance, kills, load, long fuzzing (over an hour)
 *   --busy  the same tests while one busy loop for each core competes with them
 *   --only  names of steps, as the summary shows them
 */
import { Daemon } from '@teapot-kms/testing/daemons';
import { spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { stepsOf } from './test-steps.ts';
import type { Lanes } from './test-steps.ts';

const { values } = parseArgs({
  options: {
    full: { type: 'boolean', default: false },
    busy: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true },
  },
});
const { full, busy, only } = values;
const logDirectory = mkdtempSync(join(tmpdir(), 'teapot-kms-logs-'));

interface Outcome {
  readonly name: string;
  readonly passed: number;
  readonly failed: number;
  readonly skips: readonly string[];
  readonly seconds: number;
  /** Of all its processes. Two cores give two of them a second. */
  readonly cpuSeconds: number;
}

/** Reads what bash's `times` prints: user and system time, of the shell and of its children. */
function cpuSecondsOf(times: string): number {
  return [...times.matchAll(/(\d+)m([\d.]+)s/g)].reduce((sum, [, min, sec]) => sum + 60 * Number(min) + Number(sec), 0);
}

const secondsSince = (started: number): number => Math.round((Date.now() - started) / 1000);

function run({ name, command, env }: Lanes['steps'][number]): Promise<Outcome> {
  console.log(`\n=== ${name}: ${command}`);
  const started = Date.now();
  return new Promise((resolve) => {
    const child = spawn('bash', ['-c', `set -o pipefail; ${command}; code=$?; times >&3; exit $code`], {
      stdio: ['ignore', 'pipe', 'inherit', 'pipe'],
      env: { ...process.env, ...env, TEAPOT_TEST_LOG_DIR: logDirectory },
    });
    let output = '';
    child.stdout!.on('data', (chunk: Buffer) => {
      process.stdout.write(chunk);
      output += chunk.toString();
    });
    let times = '';
    child.stdio[3]!.on('data', (chunk: Buffer) => (times += chunk.toString()));
    child.on('close', (code) => {
      const counted = [...output.matchAll(/^(\d+) passed, (\d+) failed, \d+ skipped$/gm)].at(-1);
      const failed = Math.max(Number(counted?.[2] ?? 0), code === 0 ? 0 : 1);
      // The runner repeats each skip at its end, with its file in front; a shell script prints it bare.
      const skips = [...new Set([...output.matchAll(/^(?:\S+: )?(SKIPPED .*)$/gm)].map((found) => found[1]!))];
      const passed = counted ? Number(counted[1]) : code === 0 ? 1 : 0;
      resolve({ name, passed, failed, skips, seconds: secondsSince(started), cpuSeconds: cpuSecondsOf(times) });
    });
  });
}

/** One for each core. They end with this process, however it ends. */
function startBusyLoops(): Daemon[] {
  return Array.from({ length: availableParallelism() }, () => {
    const [command, args] = [process.execPath, ['-e', 'for (;;);']];
    return new Daemon({ name: 'a busy loop', command, args, logFile: '/dev/null' });
  });
}

const stages = stepsOf({ full, logDirectory });
const names = stages.flatMap(({ steps }) => steps.map(({ name }) => name));
const unknown = only?.filter((name) => !names.includes(name)) ?? [];
if (unknown.length > 0) throw new Error(`no step ${unknown.join(', ')}; there are ${names.join(', ')}`);

const started = Date.now();
const loops = busy ? startBusyLoops() : [];
const outcomes: Outcome[] = [];
for (const { lanes, steps } of stages) {
  const queue = steps.filter(({ name }) => !only || only.includes(name));
  const lane = async (): Promise<void> => {
    for (let step = queue.shift(); step; step = queue.shift()) outcomes.push(await run(step));
  };
  await Promise.all(Array.from({ length: Math.min(lanes, queue.length) }, lane));
}
await Promise.all(loops.map((loop) => loop.kill()));

console.log('\n=== summary');
for (const { name, passed, failed, skips, seconds, cpuSeconds } of outcomes) {
  const mark = failed > 0 ? 'FAIL' : skips.length > 0 ? 'SKIP' : 'ok  ';
  const [took, cpu] = [seconds, Math.round(cpuSeconds)].map((count) => String(count).padStart(5));
  console.log(`${mark} ${name.padEnd(18)} ${String(passed).padStart(5)} passed ${took} s, CPU ${cpu} s`);
}
const skips = outcomes.flatMap((outcome) => outcome.skips);
for (const skip of skips) console.log(skip);
const sum = (pick: (outcome: Outcome) => number) => outcomes.reduce((total, outcome) => total + pick(outcome), 0);
const refused = process.env['CI'] === 'true' && skips.length > 0;
if (refused) console.log('FAIL: with CI=true nothing may be skipped');
const failed = sum((outcome) => outcome.failed) + (refused ? 1 : 0);
const beside = busy ? ` beside ${loops.length} busy loops` : '';
console.log(
  `${secondsSince(started)} s in all${beside}; ${sum(({ seconds }) => seconds)} s of steps, some of them side by side; ${Math.round(sum(({ cpuSeconds }) => cpuSeconds))} s of CPU`,
);
console.log(`${sum((outcome) => outcome.passed)} passed, ${failed} failed, ${skips.length} skipped`);
process.exitCode = failed > 0 ? 1 : 0;
