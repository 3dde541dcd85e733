import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { GcmPool } from '../../src/crypto/gcm-pool.ts';
import type { GcmJob } from '../../src/envelope/gcm.ts';
import { doJob } from '../../src/envelope/gcm.ts';
import { rejectsWithCode } from '../../src/testing/index.ts';

const fixed = { nonce: randomBytes(12), associatedData: Buffer.from('data') };

function jobs(count: number, operation: GcmJob['operation'] = 'seal'): (GcmJob & { out: Buffer })[] {
  return Array.from({ length: count }, () => {
    const [key, plaintext] = [randomBytes(32), randomBytes(100)];
    const sealed = Buffer.alloc(116);
    doJob({ ...fixed, operation: 'seal', messageKey: Buffer.from(key), input: plaintext, out: sealed });
    return operation === 'seal'
      ? { ...fixed, operation, messageKey: key, input: plaintext, out: Buffer.alloc(116) }
      : { ...fixed, operation, messageKey: key, input: sealed, out: Buffer.alloc(100) };
  });
}

for (const count of [1, 10]) {
  test(`the keys of ${count} messages are wiped`, async () => {
    const pool = new GcmPool(2);
    const all = jobs(count);
    await Promise.all(all.map((job) => pool.run(job)));
    for (const { messageKey } of all) assert.equal(messageKey, Buffer.alloc(32));
    await pool.close();
  });

  test(`of ${count} messages none with a wrong tag leaves anything of its plaintext`, async () => {
    const pool = new GcmPool(2);
    const all = jobs(count, 'open');
    for (const { input } of all) input[50]! ^= 1;
    assert.equal(await Promise.all(all.map((job) => pool.run(job))), Array<boolean>(count).fill(false));
    for (const { out } of all) assert.equal(out, Buffer.alloc(100));
    await pool.close();
  });
}

const threads = () => (process.report.getReport() as { workers: unknown[] }).workers.length;

test('threads are started by the first batch that is worth it, and ended by close', async () => {
  const pool = new GcmPool(2);
  await pool.run(jobs(1)[0]!);
  assert.is(threads(), 0);
  await Promise.all(jobs(10).map((job) => pool.run(job)));
  assert.is(threads(), 2);
  await pool.close();
  assert.is(threads(), 0);
});

test('close waits for the work that was given before, and takes none after it', async () => {
  const pool = new GcmPool(2);
  const running = jobs(300).map((job) => pool.run(job));
  const closing = pool.close();
  const [late] = jobs(1);
  await rejectsWithCode(() => pool.run(late!), 'ERR_KMS_CLOSED');
  assert.equal(late!.messageKey, Buffer.alloc(32));
  await closing;
  assert.ok((await Promise.all(running)).every(Boolean));
});

test.run();
