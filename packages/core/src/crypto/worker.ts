// A thread of the pool: it sees one batch of messages at a time, each with a key of its own, and no other key.
export { workBatch as default } from './batch.ts';
