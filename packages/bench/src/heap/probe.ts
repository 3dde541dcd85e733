/**
 * Runs in the plugin's process, loaded by `--import` together with `--expose-gc`. On SIGUSR2 it collects all garbage and appends
 * the memory usage as a line to the file that TEAPOT_HEAP_PROBE names.
 */
import { appendFileSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';

const file = process.env['TEAPOT_HEAP_PROBE'];
const collect = globalThis.gc;
if (file === undefined || collect === undefined)
  throw new Error('The heap probe needs TEAPOT_HEAP_PROBE and --expose-gc.');

process.on('SIGUSR2', () => {
  void look(file, collect);
});

/** Collects several times, because finalizers release objects that only the next collection frees. */
async function look(file: string, collect: NodeJS.GCFunction): Promise<void> {
  for (let round = 0; round < 3; round++) {
    collect();
    await turn();
  }
  appendFileSync(file, `${JSON.stringify(process.memoryUsage())}\n`);
}
