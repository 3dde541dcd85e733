import { execFileSync } from 'node:child_process';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { shellWord } from '../../src/util/shell-word.ts';
import { writableRemedy } from '../../src/util/writable.ts';

for (const text of [
  '/etc/kms',
  'NODE:/a-b_c.d',
  '',
  ' ',
  '-n',
  "it's",
  '$HOME',
  '`id`',
  '$(id)',
  'a;b',
  '"',
  '\\',
  '~',
  '*',
  '#',
  'a\nb',
  "''",
]) {
  test(`a shell reads ${JSON.stringify(text)} back as one word`, () => {
    const read = execFileSync('/bin/sh', ['-c', `printf %s. ${shellWord(text)}`], { encoding: 'utf8' });
    assert.is(read, `${text}.`);
  });
}

test('what needs no quotes has none', () => {
  assert.is(shellWord('file:/var/lib/teapot-kms/keys'), 'file:/var/lib/teapot-kms/keys');
});

test('a command in a remedy quotes its path', () => {
  assert.is(writableRemedy('/my keys', 'ENOENT', 7), "install -d -m 0700 -o 7 '/my keys'");
});

test.run();
