import { doJob } from '../envelope/gcm.ts';
import type { GcmJob } from '../envelope/gcm.ts';
import { KEY_BYTES, TAG_BYTES } from '../envelope/limits.ts';

/*
 * Jobs on their way to another thread and back, in shared memory: nothing is copied between threads, and each side can wipe what the other
 * side wrote. The layout of a job:
 *
 *   outcome 1 | associated data's length 2 | input's length 4 | key 32 | nonce 12 | associated data | data
 *
 * `data` is the input and is overwritten with the result. It has room for the longer of the two.
 */
const NONCE_AT = 7 + KEY_BYTES;
const ASSOCIATED_DATA_AT = NONCE_AT + 12;

/** The first byte of a job: the request, and later the outcome. */
const SEAL = 1;
const OPEN = 2;
const DONE = 3;
const REFUSED = 4;

/** Writes jobs into new shared memory, and wipes their keys. */
export function packBatch(jobs: readonly GcmJob[]): SharedArrayBuffer {
  const memory = new SharedArrayBuffer(jobs.reduce((size, job) => size + sizeOf(job), 0));
  const bytes = Buffer.from(memory);
  let at = 0;
  for (const job of jobs) {
    const { messageKey, nonce, associatedData, input, sealTo } = job;
    bytes[at] = sealTo ? SEAL : OPEN;
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

/** Does every job of a batch in place. Workers run this. */
export function workBatch(memory: SharedArrayBuffer): void {
  const bytes = Buffer.from(memory);
  for (let at = 0; at < bytes.length;) {
    const dataAt = at + ASSOCIATED_DATA_AT + bytes.readUInt16BE(at + 1);
    const end = dataAt + bytes.readUInt32BE(at + 3);
    const job: GcmJob = {
      messageKey: bytes.subarray(at + 7, at + NONCE_AT),
      nonce: bytes.subarray(at + NONCE_AT, at + ASSOCIATED_DATA_AT),
      associatedData: bytes.subarray(at + ASSOCIATED_DATA_AT, dataAt),
      input: bytes.subarray(dataAt, end),
      ...(bytes[at] === SEAL && { sealTo: bytes.subarray(dataAt, end + TAG_BYTES) }),
    };
    const result = doJob(job);
    if (result && !job.sealTo) {
      result.copy(bytes, dataAt);
      result.fill(0);
    }
    bytes[at] = result ? DONE : REFUSED;
    at += sizeOf(job);
  }
}

/** Copies the results out of the shared memory: `undefined` for a wrong tag. */
export function unpackBatch(memory: SharedArrayBuffer, jobs: readonly GcmJob[]): (Buffer | undefined)[] {
  const bytes = Buffer.from(memory);
  let at = 0;
  return jobs.map((job) => {
    const done = bytes[at] === DONE;
    const dataAt = at + ASSOCIATED_DATA_AT + job.associatedData.length;
    at += sizeOf(job);
    if (!done) return undefined;
    const result = job.sealTo ?? Buffer.allocUnsafeSlow(job.input.length - TAG_BYTES);
    bytes.copy(result, 0, dataAt, dataAt + result.length);
    return result;
  });
}

function sizeOf({ sealTo, associatedData, input }: GcmJob): number {
  return ASSOCIATED_DATA_AT + associatedData.length + input.length + (sealTo ? TAG_BYTES : 0);
}
