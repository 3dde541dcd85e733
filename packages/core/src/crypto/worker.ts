// A thread of the pool. It sees message keys only, one batch at a time.
export { workBatch as default } from './batch.ts';
