import { newDirectory, rejectsWithCode } from '@teapot-kms/testing';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { endOfFile, endOfJournal } from '../../src/support/log-end.ts';

test('of a long log the end is taken, from the start of a line on', () => {
  const file = join(newDirectory(), 'log');
  writeFileSync(file, 'first line\nsecond line ä\nthird line\n');
  assert.is(endOfFile(file, 18), 'third line\n');
  assert.is(endOfFile(file), 'first line\nsecond line ä\nthird line\n');
});

test('a log that is no file is refused, and not waited for', async () => {
  await rejectsWithCode(() => endOfFile('/dev/zero'), 'ERR_KMS_INVALID_REQUEST');
});

test('long lines of the journal are taken whole', () => {
  const journalctl = join(newDirectory(), 'journalctl');
  writeFileSync(journalctl, '#!/bin/sh\nyes "$(printf "%01000d" 0)" | head -n 2000\n', { mode: 0o755 });
  assert.is(endOfJournal(journalctl).split('\n').length, 2_001);
});

test.run();
