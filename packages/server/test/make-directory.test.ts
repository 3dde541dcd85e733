import { newDirectory } from '@teapot-kms/testing';
import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { makeDirectory } from '../src/make-directory.ts';

test('all that is missing is made, for its owner only, and the first of it is returned', () => {
  const directory = newDirectory();
  assert.is(makeDirectory(join(directory, 'a/b/c')), join(directory, 'a'));
  for (const name of ['a', 'a/b', 'a/b/c']) assert.is(statSync(join(directory, name)).mode & 0o777, 0o700);
});

test('others may enter what is made for all, whatever the umask of this process', () => {
  const directory = newDirectory();
  const umask = process.umask(0o077);
  try {
    makeDirectory(join(directory, 'a/b'), 0o755);
  } finally {
    process.umask(umask);
  }
  for (const name of ['a', 'a/b']) assert.is(statSync(join(directory, name)).mode & 0o777, 0o755);
});

test('what is there stays as it is', () => {
  const directory = newDirectory();
  mkdirSync(join(directory, 'a'), { mode: 0o755 });
  assert.is(makeDirectory(join(directory, 'a')), undefined);
  assert.is(statSync(join(directory, 'a')).mode & 0o777, 0o755);
});

test('a file in the place of a directory is an error', () => {
  const directory = newDirectory();
  writeFileSync(join(directory, 'file'), '');
  for (const path of ['file', 'file/a']) {
    assert.throws(
      () => makeDirectory(join(directory, path)),
      (error: NodeJS.ErrnoException) => ['EEXIST', 'ENOTDIR'].includes(error.code!),
    );
  }
});

test('where no directory can be made it ends', () => {
  assert.throws(
    () => makeDirectory('/proc/x/y'),
    (error: NodeJS.ErrnoException) => error.code === 'ENOENT',
  );
});

test.run();
