import { execFileSync } from 'node:child_process';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { shellWord } from '../../src/util/shell-word.ts';
import { writableRemedy } from '../../src/util/writable.ts';

for (const word of ['/var/lib/my keys', "it's", '$HOME', 'a;reboot', '~', '*', '', 'a\nb', '"x"', '`id`', '\\']) {
  test(`a shell reads ${JSON.stringify(word)} as it is`, () => {
    assert.is(execFileSync('/bin/sh', ['-c', `printf %s ${shellWord(word)}`], { encoding: 'utf8' }), word);
  });
}

test('an ordinary path has no quotes', () => {
  assert.is(shellWord('/var/lib/teapot-kms/main-1.d'), '/var/lib/teapot-kms/main-1.d');
});

test('a command in a remedy quotes its path', () => {
  assert.is(writableRemedy('/my keys', 'ENOENT', 7), "install -d -m 0700 -o 7 '/my keys'");
});

test.run();
