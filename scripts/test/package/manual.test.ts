import { allCommands, createProgram, describeCommand } from '@teapot-kms/server/internal/commands';
import { spawnSync } from 'node:child_process';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { manualPage } from '../../package/manual.ts';

const page = manualPage(createProgram());

test('the manual page has every command and every option', () => {
  for (const { words, commands, options } of allCommands(describeCommand(createProgram()))) {
    if (commands.length > 0) continue;
    const name = ['teapot\\-kms', ...words.map((word) => word.replaceAll('-', '\\-'))].join(' ');
    const [, section = ''] = page.split(`.SS ${name} `);
    for (const { long } of options.filter((option) => option.long !== '--help')) {
      assert.ok(section.split('.SS ')[0]!.includes(long.replaceAll('-', '\\-')), `${name} ${long}`);
    }
  }
});

if (spawnSync('groff', ['--version']).status !== 0) {
  console.log('SKIPPED the syntax of the manual page: apt-get install groff-base');
} else {
  test('groff has nothing to say about the manual page', () => {
    const { stderr } = spawnSync('groff', ['-man', '-Tutf8', '-ww', '-z'], { input: page, encoding: 'utf8' });
    assert.is(stderr, '');
  });
}

test.run();
