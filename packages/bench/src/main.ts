import { parseArgs } from 'node:util';
import { goOfTeapotBench, missingTeapotBench } from './load/teapot-bench.ts';
import { fingerprint, measuredCommit, sameMachine } from './machine.ts';
import { Recorder } from './recorder.ts';
import { latestResults, merge, MergeError, readBaseline, writeBaseline, writeResults } from './results.ts';
import type { Results } from './results.ts';
import { scenarios } from './scenarios/index.ts';

const USAGE = `Measures the plugin and its peers side by side and prints the results. Ratios compare two sides within one run.
Absolute figures are valid only for the machine that they were measured on.

usage: npm run bench [-- [--write | --baseline] [--list] SCENARIO...]
  --write     store the results in packages/bench/results. \`npm run bench:report\` renders them into BENCHMARKS.md. Named
              scenarios replace their results in the newest file, which must be from the same commit and machine
  --baseline  store the figures as the baseline. Later runs on this machine show it next to their figures
  --list      list the scenarios
  --help      print this text

A failing scenario does not stop the others. The exit code is then 1.`;

const { values, positionals } = parseArgs({
  options: {
    help: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
    baseline: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
  },
  allowPositionals: true,
});

if (values.help) console.log(USAGE);
else if (values.list) {
  for (const { name, about } of scenarios) console.log(`${name.padEnd(20)} ${about}`);
} else await main();

async function main(): Promise<void> {
  for (const name of positionals) {
    if (!scenarios.some((one) => one.name === name))
      throw new Error(`unknown scenario ${name}. --list shows all scenarios`);
  }
  const go = missingTeapotBench() === undefined ? goOfTeapotBench() : 'missing';
  // Read before the run, because commits made during the run are not measured.
  const run = { date: new Date().toISOString(), commit: measuredCommit(), machine: fingerprint(go) };
  const earlier = values.write && positionals.length > 0 ? latestResults() : undefined;
  const nothing = { figures: [], measurements: [], series: [], tables: [], unfinished: [] };
  // An impossible merge fails now, before the measurements take minutes.
  const into = earlier && ((fresh: Results) => mergeOrExplain(earlier, fresh));
  into?.({ ...run, ...nothing });

  const baseline = readBaseline();
  const before = baseline && sameMachine(baseline.machine, run.machine) ? baseline : undefined;
  if (baseline && !before)
    console.log('baseline.json was measured on another machine. Figures are not compared with it.');
  const record = new Recorder(new Map(Object.entries(before?.figures ?? {})));
  await measure(record);
  const fresh: Results = { ...run, ...(before && { baselineCommit: before.commit }), ...record.recorded() };
  if (values.write) console.log(`\nwrote ${writeResults(into?.(fresh) ?? fresh)}`);
  if (values.baseline) console.log(`\nwrote ${writeBaseline(fresh)}`);
  for (const { scenario, outcome, reason } of fresh.unfinished) console.log(`${outcome} ${scenario}: ${reason}`);
}

async function measure(record: Recorder): Promise<void> {
  for (const scenario of scenarios) {
    if (positionals.length > 0 && !positionals.includes(scenario.name)) continue;
    record.begin(scenario.name);
    const missing = scenario.missing?.();
    if (missing !== undefined) {
      record.giveUp('SKIPPED', missing);
      continue;
    }
    try {
      await scenario.run(record);
    } catch (error) {
      console.error(error);
      record.giveUp('FAILED', (error as Error).message);
      process.exitCode = 1;
    }
  }
}

function mergeOrExplain(earlier: Results, fresh: Results): Results {
  try {
    return merge(earlier, fresh, positionals);
  } catch (error) {
    if (!(error instanceof MergeError)) throw error;
    console.error(`Cannot merge these scenarios into the newest results (${earlier.date.slice(0, 10)}): ${error.message}.
Run all scenarios (npm run bench -- --write), or delete that file to start a new one.`);
    process.exit(1);
  }
}
