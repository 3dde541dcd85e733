import { rejectsWithCode } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { GcmPool } from '../../src/crypto/gcm-pool.ts';
import type { GcmJob } from '../../src/envelope/gcm.ts';

const fixed = { nonce: randomBytes(12), associatedData: Buffer.from('data') };

function sealJobs(count: number): GcmJob[] {
  return Array.from({ length: count }, () => {
    return { ...fixed, messageKey: randomBytes(32), input: randomBytes(100), sealTo: Buffer.alloc(116) };
  });
}

for (const count of [1, 10]) {
  test(`the keys of ${count} messages are wiped`, async () => {
    const pool = new GcmPool(2);
    const all = sealJobs(count);
    await Promise.all(all.map((job) => pool.run(job)));
    for (const { messageKey } of all) assert.equal(messageKey, Buffer.alloc(32));
    await pool.close();
  });

  test(`of ${count} messages none with a wrong tag gives anything`, async () => {
    const pool = new GcmPool(2);
    const all = Array.from({ length: count }, () => ({
      ...fixed,
      messageKey: randomBytes(32),
      input: randomBytes(50),
    }));
    assert.equal(await Promise.all(all.map((job) => pool.run(job))), Array(count).fill(undefined));
    await pool.close();
  });
}

const threads = () => (process.report.getReport() as { workers: unknown[] }).workers.length;

test('threads are started by the first batch that is worth it, and ended by close', async () => {
  const pool = new GcmPool(2);
  await pool.run(sealJobs(1)[0]!);
  assert.is(threads(), 0);
  await Promise.all(sealJobs(10).map((job) => pool.run(job)));
  assert.is(threads(), 2);
  await pool.close();
  assert.is(threads(), 0);
});

test('close waits for the work that was given before, and takes none after it', async () => {
  const pool = new GcmPool(2);
  const running = sealJobs(300).map((job) => pool.run(job));
  const closing = pool.close();
  const [late] = sealJobs(1);
  await rejectsWithCode(() => pool.run(late!), 'ERR_KMS_CLOSED');
  assert.equal(late!.messageKey, Buffer.alloc(32));
  await closing;
  assert.ok((await Promise.all(running)).every(Boolean));
});

test.run();
