/**
 * Profiles the built plugin under a load: prints whose code the time goes to and the functions that take most, and writes a flame
 * graph, a page to open in a browser.
 *
 * usage: npm run profile [-- [--list] [--output DIR] [LOAD]]
 *   --output  where the flame graph goes; default: packages/bench/profiles
 *   --list    name the loads
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { missingTeapotBench } from '../load/teapot-bench.ts';
import { Recorder } from '../recorder.ts';
import { capture } from './capture.ts';
import { flameGraph } from './flame-graph.ts';
import { profiledLoads } from './loads.ts';
import type { ProfiledLoad } from './loads.ts';
import { profileTables } from './tables.ts';

const { values, positionals } = parseArgs({
  options: {
    list: { type: 'boolean', default: false },
    output: { type: 'string', default: join(import.meta.dirname, '../../profiles') },
  },
  allowPositionals: true,
});

if (values.list) {
  for (const { name, about } of profiledLoads) console.log(`${name.padEnd(20)} ${about}`);
} else {
  const [name = profiledLoads[0].name] = positionals;
  const load = profiledLoads.find((one) => one.name === name);
  if (!load) throw new Error(`no load ${name}; --list names them`);
  const missing = missingTeapotBench() ?? load.missing?.();
  if (missing === undefined) await profile(load);
  else console.log(`SKIPPED ${name}: ${missing}`);
}

async function profile(load: ProfiledLoad): Promise<void> {
  const record = new Recorder();
  record.begin(load.about);
  const captured = await capture(load);
  for (const { name, columns, rows } of profileTables(captured)) record.table(name, columns, rows);
  mkdirSync(values.output, { recursive: true });
  const file = join(values.output, `${load.name}.html`);
  writeFileSync(file, flameGraph(load.about, captured.nodes));
  console.log(`\nflame graph: ${file}`);
}
