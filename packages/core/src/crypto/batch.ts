import { doJob } from '../envelope/gcm.ts';
import type { GcmJob } from '../envelope/gcm.ts';
import { KEY_BYTES, TAG_BYTES } from '../envelope/limits.ts';

/*
 * Jobs on their way to another thread and back, in memory that both see: nothing is copied between threads, and each
 * side can wipe what the other has left. A job takes
 *
 *   outcome 1 | associated data's length 2 | input's length 4 | key 32 | nonce 12 | associated data | data
 *
 * where `data` is the input and, in its place, the result; it has room for the longer of the two.
 */
const NONCE_AT = 7 + KEY_BYTES;
const ASSOCIATED_DATA_AT = NONCE_AT + 12;

/** The first byte of a job: what it asks for, then what became of it. */
const SEAL = 1;
const OPEN = 2;
const DONE = 3;
const REFUSED = 4;

/** Writes jobs into memory of their own, and wipes their keys. */
export function packBatch(jobs: readonly GcmJob[]): SharedArrayBuffer {
  const memory = new SharedArrayBuffer(jobs.reduce((size, job) => size + sizeOf(job), 0));
  const bytes = Buffer.from(memory);
  let at = 0;
  for (const job of jobs) {
    const { operation, messageKey, nonce, associatedData, input } = job;
    bytes[at] = operation === 'seal' ? SEAL : OPEN;
    bytes.writeUInt16BE(associatedData.length, at + 1);
    bytes.writeUInt32BE(input.length, at + 3);
    bytes.set(messageKey, at + 7);
    bytes.set(nonce, at + NONCE_AT);
    bytes.set(associatedData, at + ASSOCIATED_DATA_AT);
    bytes.set(input, at + ASSOCIATED_DATA_AT + associatedData.length);
    messageKey.fill(0);
    at += sizeOf(job);
  }
  return memory;
}

/** Does every job of a batch in place: what a worker runs. */
export function workBatch(memory: SharedArrayBuffer): void {
  const bytes = Buffer.from(memory);
  for (let at = 0; at < bytes.length;) {
    const operation = bytes[at] === SEAL ? 'seal' : 'open';
    const dataAt = at + ASSOCIATED_DATA_AT + bytes.readUInt16BE(at + 1);
    const job: GcmJob = {
      operation,
      messageKey: bytes.subarray(at + 7, at + NONCE_AT),
      nonce: bytes.subarray(at + NONCE_AT, at + ASSOCIATED_DATA_AT),
      associatedData: bytes.subarray(at + ASSOCIATED_DATA_AT, dataAt),
      input: bytes.subarray(dataAt, dataAt + bytes.readUInt32BE(at + 3)),
      out: bytes.subarray(dataAt),
    };
    bytes[at] = doJob(job) ? DONE : REFUSED;
    at += sizeOf(job);
  }
}

/** Copies the results to where each job wants its own. Returns which jobs have one. */
export function unpackBatch(memory: SharedArrayBuffer, jobs: readonly GcmJob[]): boolean[] {
  const bytes = Buffer.from(memory);
  let at = 0;
  return jobs.map((job) => {
    const done = bytes[at] === DONE;
    const dataAt = at + ASSOCIATED_DATA_AT + job.associatedData.length;
    if (done) bytes.copy(job.out, 0, dataAt, dataAt + job.out.length);
    at += sizeOf(job);
    return done;
  });
}

function sizeOf({ operation, associatedData, input }: GcmJob): number {
  return ASSOCIATED_DATA_AT + associatedData.length + input.length + (operation === 'seal' ? TAG_BYTES : 0);
}
