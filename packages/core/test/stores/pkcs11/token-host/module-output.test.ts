import { rememberSecret, newDirectory } from '@teapot-kms/testing';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ModuleOutput } from '../../../../src/stores/pkcs11/token-host/module-output.ts';
import { systemClock } from '../../../../src/util/clock.ts';
import { writeWithMode } from '../../../support/directories.ts';

const PIN = 'a-pin-of-module-output.test.ts';
rememberSecret(Buffer.from(PIN));

function outputOf(...chunks: string[]): ModuleOutput {
  const output = new ModuleOutput();
  for (const chunk of chunks) output.add(Buffer.from(chunk));
  return output;
}

function pinFile(): string {
  const path = join(newDirectory(), 'pin');
  writeWithMode(path, `${PIN}\n`, 0o600);
  return path;
}

test('a PIN that a module prints is not shown, also where it came in pieces', async () => {
  const output = outputOf('C_Login\npin: a-pin-of-mod', `ule-output.test.ts\n${Buffer.from(PIN).toString('hex')}\n`);
  const lines = await output.lastLines(new Set([pinFile()]), systemClock);
  assert.is(lines, `it last printed: C_Login | pin: ${'*'.repeat(PIN.length)} | ${'*'.repeat(2 * PIN.length)}`);
});

test('where a PIN cannot be read, nothing that the module printed is shown', async () => {
  const lines = await outputOf(PIN).lastLines(new Set([pinFile(), '/nowhere/pin']), systemClock);
  assert.not.match(lines, PIN);
  assert.match(lines, 'is not shown');
});

test('of a long output the last lines are kept', async () => {
  const output = outputOf('x'.repeat(100_000), '\none\ntwo\nthree\n');
  assert.is(await output.lastLines(new Set(), systemClock), 'it last printed: one | two | three');
});

test('an output of white space is none', () => {
  assert.ok(outputOf().isEmpty);
  assert.ok(outputOf(' \n').isEmpty);
  assert.not.ok(outputOf('a').isEmpty);
});

test.run();
