import { FakeClock } from '@teapot-kms/testing';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Config } from '../../src/config/schema.ts';
import { watchConfig } from '../../src/config/watch.ts';
import type { ConfigWatch } from '../../src/config/watch.ts';

interface Context {
  directory: string;
  file: string;
  clock: FakeClock;
  seen: string[];
  watch: ConfigWatch;
}

const configuration = (name: string): string =>
  `version: 1\ninstances: [{ name: ${name}, socket: /s, keys: { uri: "file:/k" } }]\n`;

const test = suite<Context>('watching a configuration');
test.before.each((context) => {
  context.directory = mkdtempSync(join(tmpdir(), 'teapot-'));
  context.file = join(context.directory, 'config.yaml');
  context.clock = new FakeClock();
  context.seen = [];
  const initialText = configuration('first');
  writeFileSync(context.file, initialText);
  const listener = {
    onChange: ({ instances }: Config) => context.seen.push(instances[0]!.name),
    onInvalid: ({ message }: Error) => context.seen.push(message.split(': ')[1]!),
  };
  context.watch = watchConfig(context.file, initialText, listener, context.clock);
});
test.after.each(({ directory, watch }) => {
  watch.stop();
  rmSync(directory, { recursive: true });
});

test('a change is read at the next check, once', ({ file, watch, seen }) => {
  writeFileSync(file, configuration('second'));
  watch.check();
  watch.check();
  assert.equal(seen, ['second']);
});

test('a change is found without inotify, by the checks every 10 s', async ({ file, clock, seen }) => {
  await clock.advance(10_000);
  assert.equal(seen, []);
  writeFileSync(file, configuration('second'));
  await clock.advance(10_000);
  assert.equal(seen, ['second']);
});

test('an invalid change is reported, and a file that is away for a moment is not', ({ file, watch, seen }) => {
  writeFileSync(file, `${configuration('first')}color: red\n`);
  watch.check();
  rmSync(file);
  watch.check();
  assert.equal(seen, ['color']);
});

test('what is no file is reported once, until that changes', ({ file, watch, seen }) => {
  rmSync(file);
  execFileSync('mkfifo', [file]);
  for (let i = 0; i < 50; i++) watch.check();
  assert.equal(seen, ['expected a regular file, found something else']);
  rmSync(file);
  writeFileSync(file, configuration('second'));
  watch.check();
  assert.equal(seen.slice(1), ['second']);
  rmSync(file);
  mkdirSync(file);
  watch.check();
  watch.check();
  assert.is(seen.length, 3);
  rmSync(file, { recursive: true });
});

test('an invalid configuration is reported once, also if its directory changes all the time', ({
  file,
  watch,
  seen,
}) => {
  writeFileSync(file, `${configuration('first')}color: red\n`);
  for (let i = 0; i < 50; i++) watch.check();
  assert.equal(seen, ['color']);
});

test('after stop there are no more checks', async ({ file, clock, watch, seen }) => {
  watch.stop();
  writeFileSync(file, configuration('second'));
  await clock.advance(60_000);
  assert.equal(seen, []);
});

test.run();
