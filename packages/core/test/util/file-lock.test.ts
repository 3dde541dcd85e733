// Takeovers under load and between processes are in keyset-directory-admin.test.ts and pkcs11/pin-ledger.test.ts.
import { newDirectory, rejectsWithCode } from '@teapot-kms/testing';
import { existsSync, lutimesSync, readlinkSync, symlinkSync } from 'node:fs';
import * as nodeFs from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { KmsError } from '../../src/errors.ts';
import { withFileLock } from '../../src/util/file-lock.ts';

const newLock = () => join(newDirectory(), '.lock');

function locked<T>(path: string, work: () => Promise<T>, waitMs = 0): Promise<T> {
  const busy = (pid: string) => new KmsError('ERR_KMS_KEYSET_CONFLICT', `process ${pid} has it`);
  return withFileLock(path, { fs: nodeFs, waitMs, busy }, work);
}

/** What the lock of this process looks like: id, start, boot, PID namespace. */
async function ownTarget(): Promise<string[]> {
  const path = newLock();
  return (await locked(path, () => Promise.resolve(readlinkSync(path)))).split(' ');
}

const isLockable = (path: string) => locked(path, () => Promise.resolve(true)).catch(() => false);

test('the lock is there while the work runs, and gone after it, also when it fails', async () => {
  const path = newLock();
  assert.is(await locked(path, () => Promise.resolve(readlinkSync(path).split(' ')[0])), String(process.pid));
  assert.not.ok(existsSync(path));
  await rejectsWithCode(
    () => locked(path, () => Promise.reject(new KmsError('ERR_KMS_CLOSED', 'x'))),
    'ERR_KMS_CLOSED',
  );
  assert.not.ok(existsSync(path));
});

test('a living owner is waited for as long as was asked, and not at all where nothing was', async () => {
  const path = newLock();
  const done: string[] = [];
  const started = Promise.withResolvers<undefined>();
  const end = Promise.withResolvers<undefined>();
  const first = locked(path, async () => {
    started.resolve(undefined);
    await end.promise;
    done.push('first');
  });
  await started.promise;
  const error = await rejectsWithCode(() => locked(path, () => Promise.resolve()), 'ERR_KMS_KEYSET_CONFLICT');
  assert.is(error.message, `process ${String(process.pid)} has it`);
  const second = locked(path, () => Promise.resolve(done.push('second')), 60_000);
  end.resolve(undefined);
  await Promise.all([first, second]);
  assert.equal(done, ['first', 'second']);
  symlinkSync((await ownTarget()).join(' '), path);
  const before = performance.now();
  await rejectsWithCode(() => locked(path, () => Promise.resolve(), 200), 'ERR_KMS_KEYSET_CONFLICT');
  assert.ok(performance.now() - before >= 200);
});

test('one holder at a time, of many that wait', async () => {
  const path = newLock();
  let [holders, most, ran] = [0, 0, 0];
  const work = async () => {
    most = Math.max(most, ++holders);
    await sleep(2);
    holders--;
    ran++;
  };
  await Promise.all(Array.from({ length: 20 }, () => locked(path, work, 30_000)));
  assert.is(most, 1);
  assert.is(ran, 20);
});

test('a process id that came again, after a restart of its owner or of the host, is not the owner', async () => {
  const [pid, startTime, boot, namespace] = await ownTarget();
  for (const [target, free] of [
    [`${pid!} ${startTime!} ${boot!} ${namespace!}`, false],
    [`${pid!} 1 ${boot!} ${namespace!}`, true],
    [`${pid!} ${startTime!} 00000000-0000-0000-0000-000000000000 ${namespace!}`, true],
  ] as const) {
    const path = newLock();
    symlinkSync(target, path);
    assert.is(await isLockable(path), free, target);
  }
});

test('an owner in another container counts as alive for two minutes', async () => {
  const [, startTime, boot] = await ownTarget();
  const path = newLock();
  symlinkSync(`1 ${startTime!} ${boot!} pid:[1]`, path);
  assert.not.ok(await isLockable(path));
  const past = Date.now() / 1000 - 121;
  lutimesSync(path, past, past);
  assert.ok(await isLockable(path));
});

test('a lock that was taken over meanwhile is left to its new owner', async () => {
  const path = newLock();
  await locked(path, async () => {
    await nodeFs.rm(path);
    await nodeFs.symlink('1', path);
  });
  assert.is(readlinkSync(path), '1');
});

test.run();
