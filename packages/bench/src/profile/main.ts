/**
 * Profiles the built plugin under a load. Prints the shares of time by owner of the code and the hottest functions. Writes a flame
 * graph as an HTML page.
 *
 * usage: npm run profile [-- [--list] [--output DIR] [LOAD]]
 *   --output  directory of the flame graph; default: packages/bench/profiles
 *   --list    list the loads
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
  if (!load) throw new Error(`unknown load ${name}. --list shows all loads`);
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
