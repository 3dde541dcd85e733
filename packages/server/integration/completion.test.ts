import { launcher } from '@teapot-kms/testing/daemons';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { teapot, TestSite } from './support/running-plugin.ts';

const test = suite<{ site: TestSite }>('completion');
test.before.each((context) => {
  context.site = new TestSite();
});
test.after.each(async ({ site }) => site.remove());

test('in bash, the completion knows commands, options and values', () => {
  const complete = (...words: string[]): string[] => {
    const script =
      'source <("$0" completion bash); COMP_WORDS=(teapot-kms "$@"); COMP_CWORD=$#; _teapot_kms; echo "${COMPREPLY[@]}"';
    return spawnSync('bash', ['-euc', script, launcher(), ...words], { encoding: 'utf8' })
      .stdout.trim()
      .split(' ');
  };
  assert.equal(complete('ke'), ['keys']);
  assert.ok(complete('keys', '').includes('promote'));
  assert.equal(complete('keys', 'list', '--uri', 'file:/x', '--ou'), ['--output']);
  assert.equal(complete('keys', 'list', '--output', ''), ['text', 'json']);
});

for (const shell of ['zsh', 'fish']) {
  const unavailable = spawnSync(shell, ['--version']).status !== 0;
  if (unavailable) console.log(`SKIPPED the syntax of the completion for ${shell}: apt-get install ${shell}`);
  else {
    test(`${shell} accepts its completion`, ({ site }) => {
      const file = site.path(`completion.${shell}`);
      writeFileSync(file, teapot('completion', shell).stdout);
      const { status, stderr } = spawnSync(shell, ['-n', file], { encoding: 'utf8' });
      assert.is(status, 0, stderr);
    });
  }
}

test.run();
