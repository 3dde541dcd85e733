import { newDirectory, rejectsWithCode } from '@teapot-kms/testing';
import { lstatSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { writeNew, writeWhole } from '../../src/cli/output-file.ts';

const failing = (code: string) => () => Promise.reject(Object.assign(new Error(code), { code }));
const codeOf = (work: Promise<void>): Promise<unknown> =>
  work.then(
    () => undefined,
    (error: unknown) => (error as NodeJS.ErrnoException).code,
  );

/** Notes the syncs. @param file - takes the place of methods of each file */
function watched(log: string[], file: Record<string, unknown> = {}): typeof fs {
  const open: typeof fs.open = async (path, ...rest) => {
    const handle = await fs.open(path, ...rest);
    const sync = handle.sync.bind(handle);
    handle.sync = () => (log.push(statSync(path).isDirectory() ? 'directory' : 'file'), sync());
    return Object.assign(handle, file);
  };
  return { ...fs, open };
}

test('file and directory are synced, and the file has mode 0600', async () => {
  const [directory, log] = [newDirectory(), [] as string[]];
  await writeNew(join(directory, 'a'), Buffer.from('x'), watched(log));
  assert.equal(log, ['file', 'directory']);
  assert.equal(readdirSync(directory), ['a']);
  assert.is(statSync(join(directory, 'a')).mode & 0o777, 0o600);
});

test('nothing is left where the disk is full', async () => {
  const directory = newDirectory();
  const full = watched([], { writeFile: failing('ENOSPC') });
  assert.is(await codeOf(writeNew(join(directory, 'a'), Buffer.from('x'), full)), 'ENOSPC');
  assert.equal(readdirSync(directory), []);
});

for (const [what, more] of [
  ['with', {}],
  ['without', { link: failing('EPERM') }],
] as const) {
  test(`a file is not replaced, on a file system ${what} hard links`, async () => {
    const [directory, system] = [newDirectory(), { ...fs, ...more }];
    const path = join(directory, 'a');
    await writeNew(path, Buffer.from('first'), system);
    assert.is(await codeOf(writeNew(path, Buffer.from('second'), system)), 'EEXIST');
    assert.is(readFileSync(path, 'utf8'), 'first');
    assert.equal(readdirSync(directory), ['a']);
  });
}

test('a file is written for its owner only, in the place of an older one, and nothing else stays', async () => {
  const directory = newDirectory();
  const file = join(directory, 'report.json');
  writeFileSync(file, 'old', { mode: 0o644 });
  await writeWhole(file, 'new');
  assert.is(readFileSync(file, 'utf8'), 'new');
  assert.is(statSync(file).mode & 0o777, 0o600);
  assert.equal(readdirSync(directory), ['report.json']);
});

test('a link stays: /dev/stdout is one', async () => {
  const directory = newDirectory();
  const link = join(directory, 'stdout');
  symlinkSync('/dev/null', link);
  const error = await rejectsWithCode(() => writeWhole(link, 'new'), 'ERR_KMS_INVALID_REQUEST');
  assert.match(error.message, link);
  assert.ok(lstatSync(link).isSymbolicLink());
  assert.equal(readdirSync(directory), ['stdout']);
});

test('a directory is refused', async () => {
  const directory = join(newDirectory(), 'reports');
  mkdirSync(directory);
  await rejectsWithCode(() => writeWhole(directory, 'new'), 'ERR_KMS_INVALID_REQUEST');
});

test.run();
