import { newDirectory } from '@teapot-kms/testing';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { credentialsOf } from '../../src/doctor/plugin-user.ts';

/** What is taken from this environment of a process. */
function taken(...variables: string[]): string | undefined {
  const environ = join(newDirectory(), 'environ');
  writeFileSync(environ, variables.map((variable) => `${variable}\0`).join(''));
  return credentialsOf(1, environ);
}

test("doctor looks for a PIN among the credentials that systemd has given to the plugin's unit", () => {
  const directory = '/run/credentials/teapot-kms@a.service';
  assert.is(taken('PATH=/bin', `CREDENTIALS_DIRECTORY=${directory}`, 'HOME=/'), directory);
  assert.is(taken(`CREDENTIALS_DIRECTORY=${directory}`), directory);
});

test('a process with another directory is not believed: anybody may have started it', () => {
  for (const directory of ['/tmp/x', '/run/credentials', '/run/credentials/..', '/run/credentials/a/../b', 'x', '']) {
    assert.is(taken(`CREDENTIALS_DIRECTORY=${directory}`), undefined, directory);
  }
  assert.is(taken('X_CREDENTIALS_DIRECTORY=/run/credentials/a'), undefined);
});

test('a process that has ended, or has no credentials, gives none', () => {
  assert.is(taken('PATH=/bin'), undefined);
  assert.is(credentialsOf(2 ** 30), undefined);
});

test.run();
