import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { packBatch, unpackBatch, workBatch } from '../../src/crypto/batch.ts';
import type { GcmJob } from '../../src/envelope/gcm.ts';

const plaintext = Buffer.from('what nobody else should read');

function sealJob(messageKey = randomBytes(32)): GcmJob {
  const [nonce, associatedData] = [Buffer.alloc(12), Buffer.from('data')];
  return { messageKey, nonce, associatedData, input: plaintext, sealTo: Buffer.alloc(44) };
}

test('packing wipes the keys of messages where they came from', () => {
  const job = sealJob();
  packBatch([job]);
  assert.equal(job.messageKey, Buffer.alloc(32));
});

test('a thread leaves neither keys nor plaintexts of what it has sealed', () => {
  const key = randomBytes(32);
  const memory = packBatch([sealJob(Buffer.from(key)), sealJob(Buffer.from(key))]);
  assert.ok(Buffer.from(memory).includes(key));
  assert.ok(Buffer.from(memory).includes(plaintext));
  workBatch(memory);
  assert.not.ok(Buffer.from(memory).includes(key));
  assert.not.ok(Buffer.from(memory).includes(plaintext));
});

test('a batch that no thread has worked on has no results', () => {
  const job = sealJob();
  assert.equal(unpackBatch(packBatch([job]), [job]), [undefined]);
});

test.run();
