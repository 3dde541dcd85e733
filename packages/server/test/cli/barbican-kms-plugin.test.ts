import { Command } from 'commander';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { configurationOf, registerBarbicanKmsPlugin } from '../../src/cli/barbican-kms-plugin.ts';

/** The configuration of a command line. */
async function configured(...args: string[]): Promise<{ log: { level: string }; instances: [{ socket: string }] }> {
  const program = new Command();
  registerBarbicanKmsPlugin(program);
  const [command] = program.commands;
  let flags = {};
  command!.action((given: object) => void (flags = given));
  await program.parseAsync(['barbican-kms-plugin', '--cloud-config', '/etc/cloud.conf', ...args], { from: 'user' });
  return JSON.parse(configurationOf(flags as never)) as never;
}

for (const [flags, level] of [
  [['-v=4'], 'debug'],
  [['-v', '4'], 'debug'],
  [['--v=5'], 'debug'],
  [['-v=2'], 'info'],
  [[], 'info'],
] as const) {
  test(`${flags.join(' ') || 'no -v'} means log level ${level}`, async () => {
    assert.is((await configured('--socketpath', '/run/kms.sock', ...flags)).log.level, level);
  });
}

for (const [path, socket] of [
  ['/run//kms.sock', '/run/kms.sock'],
  ['unix:///run/kms.sock', '/run/kms.sock'],
  ['unix:////run//kms.sock', '/run/kms.sock'],
] as const) {
  test(`the socket path ${path} is ${socket}`, async () => {
    assert.is((await configured('--socketpath', path)).instances[0].socket, socket);
  });
}

test.run();
