import { execFileSync } from 'node:child_process';
import { truncateSync, writeFileSync } from 'node:fs';
import * as nodeFs from 'node:fs/promises';
import { join } from 'node:path';
import { newDirectory } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FileRefused, readSmallFile, readSmallFileSync } from '../../src/util/small-file.ts';
import { watchedFs } from '../support/watched-fs.ts';

const LIMIT = 1_000;
const readers = {
  readSmallFile: (path: string) => readSmallFile(path, LIMIT),
  readSmallFileSync: (path: string) => Promise.resolve().then(() => readSmallFileSync(path, LIMIT)),
};

const failure = (reading: Promise<Buffer>): Promise<unknown> =>
  reading.then(
    () => undefined,
    (error: unknown) => error,
  );

for (const [name, read] of Object.entries(readers)) {
  test(`${name}: a file up to the limit is read whole, also an empty one`, async () => {
    const path = join(newDirectory(), 'file');
    for (const length of [0, 1, LIMIT]) {
      writeFileSync(path, Buffer.alloc(length, 7));
      assert.equal(await read(path), Buffer.alloc(length, 7));
    }
  });

  test(`${name}: a longer one is refused, unread, however long it is`, async () => {
    const path = join(newDirectory(), 'file');
    writeFileSync(path, '');
    for (const length of [LIMIT + 1, 600 * 1024 * 1024]) {
      truncateSync(path, length);
      const error = await failure(read(path));
      assert.instance(error, FileRefused);
      assert.is((error as FileRefused).message, `${path}: too long: expected at most ${LIMIT} bytes, found ${length}`);
    }
  });

  test(`${name}: a FIFO that nobody writes to and a device are refused at once, and a directory fails`, async () => {
    const directory = newDirectory();
    execFileSync('mkfifo', [join(directory, 'fifo')]);
    for (const path of [join(directory, 'fifo'), '/dev/zero']) assert.instance(await failure(read(path)), FileRefused);
    assert.is(((await failure(read(directory))) as NodeJS.ErrnoException).code, 'EISDIR');
  });

  test(`${name}: a missing file is an error of the file system`, async () => {
    assert.is(((await failure(read('/nonexistent'))) as NodeJS.ErrnoException).code, 'ENOENT');
  });
}

test('a file that grows while it is read is refused', async () => {
  const path = join(newDirectory(), 'file');
  writeFileSync(path, 'short');
  const fs = watchedFs((operation) => {
    if (operation === 'file.read') writeFileSync(path, 'x'.repeat(500));
  });
  assert.instance(await failure(readSmallFile(path, LIMIT, fs)), FileRefused);
});

test('a FIFO that takes the place of the file before it is opened is refused', async () => {
  const path = join(newDirectory(), 'file');
  writeFileSync(path, 'short');
  const fs = watchedFs(async (operation) => {
    if (operation !== 'open') return;
    await nodeFs.rm(path);
    execFileSync('mkfifo', [path]);
  });
  assert.instance(await failure(readSmallFile(path, LIMIT, fs)), FileRefused);
});

test.run();
