import { getHeapStatistics } from 'node:v8';
import type { Case } from '../micro/interleave.ts';
import { median } from '../statistics.ts';

const WINDOWS = 7;
/** V8 counts in pages of its allocation buffers, so a window must be many times as long. */
const CALLS = 10_000;

/** Bytes that one call allocates on V8's heap, whether they are collected soon or not; buffers' memory outside of it is not counted. */
export function bytesPerCall({ calls, run }: Case): number {
  const runs = Math.ceil(CALLS / calls);
  const allocated = (): number => getHeapStatistics().total_allocated_bytes;
  const samples = Array.from({ length: WINDOWS }, () => {
    const before = allocated();
    for (let i = 0; i < runs; i++) run();
    return (allocated() - before) / (runs * calls);
  });
  return median(samples);
}
