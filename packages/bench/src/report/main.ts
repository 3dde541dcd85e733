/**
 * Renders the newest results of `npm run bench -- --write` into BENCHMARKS.md, between its markers, and the charts beside it.
 *
 * usage: npm run bench:report [-- --check]
 *   --check  write nothing: exit code 1, and the names, where a file is not what the results say
 */
import { globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { latestResults } from '../results.ts';
import { scenarios } from '../scenarios/index.ts';
import { CHART_DIRECTORY, differences, renderReport } from './report.ts';

const root = join(import.meta.dirname, '../../../..');
const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } });

const paths = ['BENCHMARKS.md', ...globSync(`${CHART_DIRECTORY}/*.svg`, { cwd: root })];
const found = new Map(paths.map((path) => [path, readFileSync(join(root, path), 'utf8')]));
const wanted = renderReport(found.get('BENCHMARKS.md')!, latestResults(), scenarios);
const differing = differences(wanted, found);

if (values.check) {
  for (const path of differing) console.error(`${path} is not what packages/bench/results says: npm run bench:report`);
  if (differing.length > 0) process.exitCode = 1;
  else console.log(`BENCHMARKS.md and ${wanted.size - 1} charts are what the results say`);
} else {
  mkdirSync(join(root, CHART_DIRECTORY), { recursive: true });
  for (const path of differing) {
    const content = wanted.get(path);
    if (content === undefined) rmSync(join(root, path));
    else writeFileSync(join(root, path), content);
    console.log(`${content === undefined ? 'removed' : 'wrote'} ${path}`);
  }
}
