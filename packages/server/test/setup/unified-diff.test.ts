import { newDirectory } from '@teapot-kms/testing';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { unifiedDiff } from '../../src/setup/unified-diff.ts';

const lines = (...all: (string | number)[]): string => all.map((line) => `${line}\n`).join('');
const long = Array.from({ length: 40 }, (_, index) => `line ${index}`);

const cases: Readonly<Record<string, readonly [string, string]>> = {
  'a line in the middle': [lines(...long), lines(...long.slice(0, 20), 'new', ...long.slice(20))],
  'two places': [lines(...long), lines('first', ...long.slice(1, 30), ...long.slice(32))],
  everything: [lines('a', 'b'), lines('c')],
  'one line': [lines('a'), lines('b')],
};

for (const [name, [before, after]] of Object.entries(cases)) {
  test(`${name}: patch makes the new text of it`, () => {
    const file = join(newDirectory(), 'file');
    writeFileSync(file, before);
    const diff = `${unifiedDiff(file, before, after)}\n`;
    const { status, stdout, stderr } = spawnSync('patch', ['-o', '-', '--quiet', file], {
      input: diff,
      encoding: 'utf8',
    });
    assert.is(status, 0, stderr + stdout);
    assert.is(stdout, after);
  });
}

test('equal texts have no difference', () => assert.is(unifiedDiff('f', 'a\n', 'a\n'), ''));

test('a new file and one that goes are compared with /dev/null', () => {
  assert.is(unifiedDiff('/f', undefined, lines('a', 'b')), '--- /dev/null\n+++ /f\n@@ -0,0 +1,2 @@\n+a\n+b');
  assert.is(unifiedDiff('/f', lines('a'), undefined), '--- /f\n+++ /dev/null\n@@ -1 +0,0 @@\n-a');
});

test.run();
