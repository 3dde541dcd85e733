import { newDirectory } from '@teapot-kms/testing';
import { execFileSync } from 'node:child_process';
import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { InstanceConfig } from '../../src/config/schema.ts';
import { coreDumps, socketDirectory } from '../../src/doctor/host.ts';
import type { RunningPlugin } from '../../src/doctor/running.ts';

/** A process id that is no process here, as of a plugin in a container. */
const plugin = (coreLimit?: string) => ({ pid: 999_999_999, ...(coreLimit && { coreLimit }) }) as RunningPlugin;

test("the plugin's core limit counts, not that of this process", () => {
  assert.is(coreDumps(plugin('0')).level, 'ok');
  const { level, text, remedy } = coreDumps(plugin('unlimited'));
  assert.is(level, 'hint');
  assert.match(text, 'process 999999999, limit unlimited');
  assert.match(remedy ?? '', 'LimitCORE=0');
});

test('a plugin that does not say its limit is not taken for one with core dumps off', () => {
  assert.match(coreDumps(plugin()).text, 'limit unknown');
});

test('without a plugin nothing is said of core dumps, least of all that they are off', () => {
  const { level, text } = coreDumps(undefined);
  assert.is(level, 'hint');
  assert.match(text, 'not checked');
});

test('a directory that socketGroup may not enter is a problem, until its command has run', () => {
  const directory = newDirectory();
  const instance = { name: 'main', socket: join(directory, 'kms.sock'), socketGroup: 12_345 } as InstanceConfig;
  const user = { uid: process.geteuid!(), groups: [] };
  chmodSync(directory, 0o700);
  const { level, text, remedy } = socketDirectory(instance, user);
  assert.is(level, 'problem');
  assert.match(text, 'socketGroup 12345 cannot reach the socket');
  if (process.geteuid!() !== 0) return console.log('SKIPPED the command: only root can run it');
  assert.match(remedy ?? '', /^chgrp 12345 /);
  execFileSync('/bin/sh', ['-c', remedy!]);
  assert.is(socketDirectory(instance, user).level, 'ok');
});

test.run();
