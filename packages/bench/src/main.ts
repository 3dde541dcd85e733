/**
 * Measures the plugin and its peers side by side, and prints what it finds. Nothing here compares with fixed times: ratios within one
 * run count, absolute figures stand beside the machine that they were measured on.
 *
 * usage: npm run bench [-- [--write] [--list] SCENARIO...]
 *   --write  keep the results in packages/bench/results, for BENCHMARKS.md
 *   --list   name the scenarios
 */
import { parseArgs } from 'node:util';
import { goOfTeapotBench, missingTeapotBench } from './load/teapot-bench.ts';
import { Recorder } from './recorder.ts';
import { commit, fingerprint, writeResults } from './results.ts';
import { scenarios } from './scenarios/index.ts';

const { values, positionals } = parseArgs({
  options: { write: { type: 'boolean', default: false }, list: { type: 'boolean', default: false } },
  allowPositionals: true,
});

if (values.list) {
  for (const { name, about } of scenarios) console.log(`${name.padEnd(20)} ${about}`);
} else await main();

async function main(): Promise<void> {
  for (const name of positionals) {
    if (!scenarios.some((one) => one.name === name)) throw new Error(`no scenario ${name}; --list names them`);
  }
  const chosen = scenarios.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
  const record = new Recorder();
  const skipped: string[] = [];
  for (const scenario of chosen) {
    record.begin(scenario.name);
    const missing = scenario.missing?.();
    if (missing === undefined) await scenario.run(record);
    else skipped.push(`${scenario.name}: ${missing}`);
  }
  if (values.write) {
    const { figures, measurements, series, tables } = record;
    const date = new Date().toISOString();
    const file = writeResults({
      date,
      commit: commit(),
      machine: fingerprint(missingTeapotBench() === undefined ? goOfTeapotBench() : undefined),
      figures,
      measurements,
      series,
      tables,
      skipped,
    });
    console.log(`\nwrote ${file}`);
  }
  for (const reason of skipped) console.log(`SKIPPED ${reason}`);
}
