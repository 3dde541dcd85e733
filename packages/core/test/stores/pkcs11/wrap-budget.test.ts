import { newDirectory, rejectsWithCode } from '@teapot-kms/testing';
import { rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { BLOCK, MAX_WRAPS, WARN_AFTER, WrapBudget } from '../../../src/stores/pkcs11/wrap-budget.ts';

const fileIn = (directory: string, keyId = 'k') => join(directory, `wraps-${keyId}`);
const usedIn = (directory: string, keyId?: string) => statSync(fileIn(directory, keyId)).size * BLOCK;

function directoryWithUsed(uses: number): string {
  const directory = newDirectory();
  writeFileSync(fileIn(directory), '');
  truncateSync(fileIn(directory), uses / BLOCK);
  return directory;
}

async function take(budget: WrapBudget, times: number): Promise<void> {
  await Promise.all(Array.from({ length: times }, () => budget.take()));
}

test('uses are recorded before they happen, a block at a time', async () => {
  const directory = join(newDirectory(), 'state');
  const budget = new WrapBudget(directory, 'k');
  await budget.take();
  assert.is(usedIn(directory), BLOCK);
  await take(budget, BLOCK - 1);
  assert.is(usedIn(directory), BLOCK);
  await budget.take();
  assert.is(usedIn(directory), 2 * BLOCK);
  assert.is(statSync(fileIn(directory)).mode & 0o777, 0o600);
  assert.is(statSync(directory).mode & 0o777, 0o700);
});

test('a hundred wraps at once reserve one block', async () => {
  const directory = newDirectory();
  await take(new WrapBudget(directory, 'k'), 100);
  assert.is(usedIn(directory), BLOCK);
});

test('after a restart the count continues after the last block', async () => {
  const directory = newDirectory();
  await new WrapBudget(directory, 'k').take();
  await new WrapBudget(directory, 'k').take();
  assert.is(usedIn(directory), 2 * BLOCK);
});

test('two processes with the same key share its budget', async () => {
  const directory = newDirectory();
  const [a, b] = [new WrapBudget(directory, 'k'), new WrapBudget(directory, 'k')];
  await Promise.all([take(a, 3 * BLOCK), take(b, 2 * BLOCK)]);
  assert.is(usedIn(directory), 5 * BLOCK);
});

test('each key has its own', async () => {
  const directory = newDirectory();
  await new WrapBudget(directory, 'a').take();
  await take(new WrapBudget(directory, 'b'), BLOCK + 1);
  assert.equal([usedIn(directory, 'a'), usedIn(directory, 'b')], [BLOCK, 2 * BLOCK]);
});

test('the last block can be used, and then it ends', async () => {
  const budget = new WrapBudget(directoryWithUsed(MAX_WRAPS - BLOCK), 'k');
  await take(budget, BLOCK);
  const error = await rejectsWithCode(() => budget.take(), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.match(error.message, `key k was used ${MAX_WRAPS} times on this host`);
  assert.is(error.remedy, 'rotate the key');
  await rejectsWithCode(() => budget.take(), 'ERR_KMS_STORE_UNAVAILABLE');
});

test('from half of it on there is a warning, which stays the same text', async () => {
  const budget = new WrapBudget(directoryWithUsed(WARN_AFTER - BLOCK), 'k');
  assert.is(await budget.warning(), undefined);
  await budget.take();
  const warning = await budget.warning();
  assert.match(warning!.message, 'key k was used for half');
  await take(budget, 2 * BLOCK);
  assert.is((await budget.warning())!.message, warning!.message);
});

test('a key that was never used has no warning', async () => {
  assert.is(await new WrapBudget(join(newDirectory(), 'missing'), 'k').warning(), undefined);
});

test('where a use cannot be recorded nothing is used, and it works again when it can', async () => {
  const path = join(newDirectory(), 'state');
  writeFileSync(path, 'in the way');
  const budget = new WrapBudget(path, 'k');
  await rejectsWithCode(() => budget.take(), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.is((await budget.warning())?.code, 'ERR_KMS_STORE_UNAVAILABLE');
  rmSync(path);
  await budget.take();
  assert.is(usedIn(path), BLOCK);
});

test.run();
