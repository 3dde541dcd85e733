// The end of a token host's process, which needs no module: one that cannot be loaded is enough.
import { FakeClock, newDirectory, until } from '@teapot-kms/testing';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { HostProcess } from '../../../../src/stores/pkcs11/token-host/host-process.ts';
import { newChannelKey } from '../../../../src/stores/pkcs11/token-host/sealed-channel.ts';

const PRINTS = "require('node:fs').writeSync(2, 'the daemon is not running\\n');";

/** A process that runs some code before it looks at its module, and what it says at its end. */
async function endOf(act: (child: HostProcess) => void, code = PRINTS): Promise<string> {
  const preload = join(newDirectory(), 'preload.cjs');
  writeFileSync(preload, code);
  const before = process.env['NODE_OPTIONS'];
  process.env['NODE_OPTIONS'] = `--require=${preload}`;
  const reasons: string[] = [];
  try {
    const child = new HostProcess({
      modulePath: join(newDirectory(), 'no-module.so'),
      sessions: 1,
      channelKey: newChannelKey(),
      clock: new FakeClock(),
      onStarted: () => assert.unreachable(),
      onReplies: () => assert.unreachable(),
      onLoginOfThread: () => assert.unreachable(),
      onEnd: (reason) => reasons.push(reason),
    });
    act(child);
    await until('the process ends', () => reasons.length > 0, { everyMs: 10 });
  } finally {
    if (before === undefined) delete process.env['NODE_OPTIONS'];
    else process.env['NODE_OPTIONS'] = before;
  }
  return reasons[0]!;
}

test('a module that cannot be used is reported with what it printed', async () => {
  const reason = await endOf(() => undefined);
  assert.match(reason, /^the module cannot be used: .*; it last printed: the daemon is not running$/s);
});

test('an orderly stop is reported without what the module printed', async () => {
  assert.is(await endOf((child) => void child.stop()), 'it was stopped');
});

test('a module that writes to a descriptor of the process ends that process, and not the plugin', async () => {
  const writes = "require('node:fs').writeSync(3, Buffer.from([0, 0, 0, 8, ...Buffer.from('a module')]));";
  assert.match(await endOf(() => undefined, writes), /^it sent what no token host sends: /);
});

test.run();
