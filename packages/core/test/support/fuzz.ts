/** How many inputs a property or fuzz test tries: a few thousand, or what TEAPOT_FUZZ_RUNS says (the full run: 10^6). */
export function fuzzRuns(usual = 3_000): number {
  const wanted = process.env['TEAPOT_FUZZ_RUNS'];
  return wanted === undefined ? usual : Number(wanted);
}

/** Feeds `runs` inputs to `tryOne` and prints what it took; keeps nothing of them. */
export function fuzz(name: string, runs: number, tryOne: (run: number) => void): { heapGrowthMb: number } {
  const heap = () => {
    globalThis.gc?.();
    const { heapUsed, external } = process.memoryUsage();
    return (heapUsed + external) / 2 ** 20;
  };
  // What is compiled and cached on first use is no growth.
  for (let run = 0; run < Math.min(runs, 500); run++) tryOne(run);
  const [before, started] = [heap(), performance.now()];
  for (let run = 0; run < runs; run++) tryOne(run);
  const seconds = (performance.now() - started) / 1000;
  const heapGrowthMb = heap() - before;
  console.log(
    `FIGURE fuzz ${name}: ${String(runs)} inputs in ${seconds.toFixed(2)} s, memory ${heapGrowthMb.toFixed(1)} MB more`,
  );
  return { heapGrowthMb };
}
