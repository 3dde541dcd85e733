/**
 * Runs uvu test files, each in a process of its own, and counts what really ran: a file in which no test runs fails
 * (uvu would print green), and a skipped test is named in the last lines.
 *
 * usage: node scripts/run-tests.ts [--jobs N] [--match TEXT]... [--except TEXT]... [--timeout SECONDS] DIR|FILE...
 *
 * A test that cannot run here prints a line `SKIPPED <what>: <how to get it>`; such lines are counted and repeated at
 * the end. The last line is `N passed, N failed, N skipped`. With TEAPOT_TEST_LOG_DIR set, the whole output of each
 * file is kept there too. Exit code 0 only when no test failed.
 */
import { spawn } from 'node:child_process';
import { globSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs, stripVTControlCharacters } from 'node:util';

const { values, positionals } = parseArgs({
  options: {
    jobs: { type: 'string', default: String(Math.min(4, availableParallelism())) },
    match: { type: 'string', multiple: true, default: [''] },
    except: { type: 'string', multiple: true, default: [] },
    timeout: { type: 'string', default: '900' },
  },
  allowPositionals: true,
});
const files = positionals
  .flatMap((path) => (statSync(path).isDirectory() ? globSync(join(path, '**/*.test.ts')).sort() : [path]))
  .filter(
    (file) => values.match.some((text) => file.includes(text)) && !values.except.some((text) => file.includes(text)),
  );
if (files.length === 0) throw new Error(`no test files in ${positionals.join(' ')}`);

interface Outcome {
  file: string;
  passed: number;
  failed: number;
  skips: string[];
}

/** Halves the time that a process takes to load our modules. V8 counts no coverage of code that comes from there. */
const COMPILE_CACHE =
  process.env['NODE_V8_COVERAGE'] === undefined
    ? { NODE_COMPILE_CACHE: join(import.meta.dirname, '../node_modules/.cache/node') }
    : {};

/** What uvu prints last. A failed test may have left something open that keeps its process from ending. */
const SUMMARY = /^ {2}Duration: .*\n\s*$/m;
const LINGER_MS = 20_000;

function runFile(file: string): Promise<Outcome> {
  return new Promise((resolve) => {
    const started = Date.now();
    const child = spawn(process.execPath, ['--conditions=teapot-source', '--expose-gc', file], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, FORCE_COLOR: '0', ...COMPILE_CACHE },
    });
    const timer = setTimeout(() => child.kill('SIGKILL'), Number(values.timeout) * 1000);
    let lingering: NodeJS.Timeout | undefined;
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => {
        output += chunk.toString();
        clearTimeout(lingering);
        if (SUMMARY.test(output)) lingering = setTimeout(() => child.kill('SIGKILL'), LINGER_MS);
      });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      clearTimeout(lingering);
      output = stripVTControlCharacters(output);
      const count = (label: string) =>
        [...output.matchAll(new RegExp(`^ {2}${label}: +(\\d+)$`, 'gm'))].reduce(
          (sum, found) => sum + Number(found[1]),
          0,
        );
      const total = count('Total');
      const passed = count('Passed');
      const skips = [...output.matchAll(/^SKIPPED .*$/gm)].map((found) => `${file}: ${found[0]}`);
      const skipped = count('Skipped');
      if (skipped > 0) skips.push(...Array.from({ length: skipped }, () => `${file}: a test.skip`));
      const broken = code !== 0 || (total === 0 && skips.length === 0);
      const failed = Math.max(total - passed, broken ? 1 : 0);
      const seconds = ((Date.now() - started) / 1000).toFixed(1);
      console.log(`${failed > 0 ? 'FAIL' : 'ok  '} ${file} (${String(passed)} passed, ${seconds} s)`);
      if (failed > 0)
        console.log(`${output}\n  exit code ${String(code)}, signal ${String(signal)}, ${String(total)} tests ran`);
      else for (const found of output.matchAll(/^FIGURE .*$/gm)) console.log(`     ${found[0]}`);
      const logDirectory = process.env['TEAPOT_TEST_LOG_DIR'];
      if (logDirectory !== undefined) {
        mkdirSync(logDirectory, { recursive: true });
        writeFileSync(join(logDirectory, `${file.replaceAll('/', '_')}.log`), output);
      }
      resolve({ file, passed, failed, skips });
    });
  });
}

const outcomes: Outcome[] = [];
const queue = [...files];
await Promise.all(
  Array.from({ length: Number(values.jobs) }, async () => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) outcomes.push(await runFile(file));
  }),
);
const skips = outcomes.flatMap((outcome) => outcome.skips);
const sum = (pick: (outcome: Outcome) => number) => outcomes.reduce((total, outcome) => total + pick(outcome), 0);
for (const outcome of outcomes) if (outcome.failed > 0) console.log(`FAILED ${outcome.file}`);
for (const skip of skips) console.log(skip);
console.log(
  `${String(sum((o) => o.passed))} passed, ${String(sum((o) => o.failed))} failed, ${String(skips.length)} skipped`,
);
if (sum((o) => o.failed) > 0) process.exitCode = 1;
