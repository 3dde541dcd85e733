/**
 * Loaded into the plugin's process by `--import`, with `--expose-gc`: on SIGUSR2 it collects all garbage and appends what is left
 * as a line to the file that TEAPOT_HEAP_PROBE names.
 */
import { appendFileSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';

const file = process.env['TEAPOT_HEAP_PROBE'];
const collect = globalThis.gc;
if (file === undefined || collect === undefined) throw new Error('needs TEAPOT_HEAP_PROBE and --expose-gc');

process.on('SIGUSR2', () => {
  void look(file, collect);
});

/** What finalizers let go of in one collection, the next one takes. */
async function look(file: string, collect: NodeJS.GCFunction): Promise<void> {
  for (let round = 0; round < 3; round++) {
    collect();
    await turn();
  }
  appendFileSync(file, `${JSON.stringify(process.memoryUsage())}\n`);
}
