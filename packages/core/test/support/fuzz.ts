import { figure } from './figure.ts';

/** How many inputs a property or fuzz test tries: a few thousand, or what TEAPOT_FUZZ_RUNS says (the full run: 10^6). */
export function fuzzRuns(usual = 3_000): number {
  const wanted = process.env['TEAPOT_FUZZ_RUNS'];
  return wanted === undefined ? usual : Number(wanted);
}

/** Feeds `runs` inputs to `tryOne` and prints what it took; keeps nothing of them. */
export async function fuzz(
  name: string,
  runs: number,
  tryOne: (run: number) => void | Promise<void>,
): Promise<{ heapGrowthMb: number }> {
  const many = async (times: number) => {
    for (let run = 0; run < times; run++) {
      const done = tryOne(run);
      if (done) await done;
    }
  };
  // What is compiled and cached on first use is no growth.
  await many(Math.min(runs, 1_000));
  const [before, started] = [memoryMb(), performance.now()];
  await many(runs);
  const seconds = (performance.now() - started) / 1000;
  const heapGrowthMb = memoryMb() - before;
  figure(`fuzz ${name}: ${String(runs)} inputs in ${seconds.toFixed(2)} s, memory ${heapGrowthMb.toFixed(1)} MB more`);
  return { heapGrowthMb };
}

function memoryMb(): number {
  globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return (heapUsed + external) / 2 ** 20;
}
