import { newDirectory, rejectsWithCode } from '@teapot-kms/testing';
import { lstatSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { writeWhole } from '../../src/cli/output-file.ts';

test('a file is written for its owner only, in the place of an older one, and nothing else stays', () => {
  const directory = newDirectory();
  const file = join(directory, 'report.json');
  writeFileSync(file, 'old', { mode: 0o644 });
  writeWhole(file, 'new');
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
