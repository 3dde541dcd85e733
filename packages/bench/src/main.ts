import { parseArgs } from 'node:util';
import { goOfTeapotBench, missingTeapotBench } from './load/teapot-bench.ts';
import { fingerprint, measuredCommit, sameMachine } from './machine.ts';
import { Recorder } from './recorder.ts';
import { latestResults, merge, MergeError, readBaseline, writeBaseline, writeResults } from './results.ts';
import type { Results } from './results.ts';
import { scenarios } from './scenarios/index.ts';

const USAGE = `Measures the plugin and its peers side by side, and prints what it finds. Nothing here compares with fixed times:
ratios within one run count, absolute figures stand beside the machine that they were measured on.

usage: npm run bench [-- [--write | --baseline] [--list] SCENARIO...]
  --write     keep the results in packages/bench/results, for BENCHMARKS.md (\`npm run bench:report\` renders it). Chosen scenarios
              take the place of their earlier selves in the newest results, if those are of this commit and this machine
  --baseline  keep the figures as those from before, for later runs to show beside theirs
  --list      name the scenarios
  --help      this text

A scenario that fails does not stop the others; the exit code is 1 then.`;

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
    if (!scenarios.some((one) => one.name === name)) throw new Error(`no scenario ${name}; --list names them`);
  }
  const go = missingTeapotBench() === undefined ? goOfTeapotBench() : 'missing';
  // Taken before the run: what is committed during it is not what it measures.
  const run = { date: new Date().toISOString(), commit: measuredCommit(), machine: fingerprint(go) };
  const earlier = values.write && positionals.length > 0 ? latestResults() : undefined;
  const nothing = { figures: [], measurements: [], series: [], tables: [], unfinished: [] };
  // Refused now rather than when minutes have been spent.
  const into = earlier && ((fresh: Results) => mergeOrExplain(earlier, fresh));
  into?.({ ...run, ...nothing });

  const baseline = readBaseline();
  const before = baseline && sameMachine(baseline.machine, run.machine) ? baseline : undefined;
  if (baseline && !before) console.log('baseline.json is of another machine: no figure is compared with it');
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
    console.error(`cannot put these scenarios into the newest results (${earlier.date.slice(0, 10)}): ${error.message}.
Run all scenarios (npm run bench -- --write), or remove that file to begin a new one.`);
    process.exit(1);
  }
}
