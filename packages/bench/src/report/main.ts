/**
 * Renders the newest results of `npm run bench -- --write`: the blocks of BENCHMARKS.md, and all files in docs/benchmarks.
 *
 * usage: npm run bench:report [-- --check]
 *   --check  write nothing; name each file that differs from the results and exit with code 1
 */
import { globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { latestResults } from '../results.ts';
import { scenarios } from '../scenarios/index.ts';
import { differences, GENERATED_DIRECTORY, renderReport, REPORT } from './report.ts';

const root = join(import.meta.dirname, '../../../..');
const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } });

const paths = [REPORT, ...globSync(`${GENERATED_DIRECTORY}/*.{md,svg}`, { cwd: root })];
const found = new Map(paths.map((path) => [path, readFileSync(join(root, path), 'utf8')]));
const wanted = renderReport(found.get(REPORT)!, latestResults(), scenarios);
const differing = differences(wanted, found);

if (values.check) {
  for (const path of differing) console.error(`${path} differs from packages/bench/results. Fix: npm run bench:report`);
  if (differing.length > 0) process.exitCode = 1;
  else console.log(`${wanted.size} files agree with packages/bench/results`);
} else {
  mkdirSync(join(root, GENERATED_DIRECTORY), { recursive: true });
  for (const path of differing) {
    const content = wanted.get(path);
    if (content === undefined) rmSync(join(root, path));
    else writeFileSync(join(root, path), content);
    console.log(`${content === undefined ? 'removed' : 'wrote'} ${path}`);
  }
}
