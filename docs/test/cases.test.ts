/** docs/cases.md names a test in each row, and each of them exists. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { assertTestsExist } from './named-tests.ts';
import { root } from './run-blocks.ts';

const document = readFileSync(join(root, 'docs/cases.md'), 'utf8');

test('each test that docs/cases.md names exists', () => assertTestsExist(document, 35));

test('each row of docs/cases.md names a test', () => {
  const rows = document.split('\n').filter((line) => /^\| (?!put in)/.test(line));
  assert.equal(
    rows.filter((row) => !/`[\w./-]+\.test\.ts`: /.test(row)),
    [],
  );
});

test.run();
