import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { FakeClock, until } from '@teapot-kms/testing';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { SocketError, SocketListener } from '../../src/transport/socket.ts';
import type { SocketOptions } from '../../src/transport/socket.ts';

const test = suite<{ path: string }>('socket');
test.before.each((context) => {
  context.path = join(mkdtempSync(join(tmpdir(), 'teapot-')), 'dir', 'kms.sock');
});
test.after.each(({ path }) => rmSync(join(path, '../..'), { recursive: true, force: true }));

const listen = (path: string, options: Partial<Omit<SocketOptions, 'path'>> = {}) =>
  SocketListener.listen({ path, mode: 0o600, takeOver: false, onConnection: (socket) => socket.destroy(), ...options });

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    assert.instance(error, SocketError);
    return (error as SocketError).code;
  }
  throw new Error('it succeeded');
}

const isLive = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
  });

test('a path of 107 bytes is taken, one of 108 refused', async ({ path }) => {
  const directory = join(path, '..');
  const name = 'x'.repeat(107 - directory.length - 1);
  await (await listen(join(directory, name))).close();
  assert.is(await codeOf(listen(join(directory, `${name}x`))), 'ERR_SOCKET_PATH');
});

for (const mode of [0o600, 0o660]) {
  test(`a socket has mode 0${mode.toString(8)} from the start`, async ({ path }) => {
    const listener = await listen(path, { mode });
    assert.is(statSync(path).mode & 0o777, mode);
    await listener.close();
  });
}

for (const mode of [0o770, 0o1770, 0o702, 0o1777]) {
  test(`a directory of mode 0${mode.toString(8)}, in which others can replace the socket, is refused, and nothing is left in it`, async ({
    path,
  }) => {
    const directory = dirname(path);
    mkdirSync(directory);
    chmodSync(directory, mode);
    assert.is(await codeOf(listen(path)), 'ERR_SOCKET_PATH');
    assert.equal(readdirSync(directory), []);
  });
}

test('the group of a socket is never given to what a link leads to', async ({ path }) => {
  const target = join(path, '../../target');
  writeFileSync(target, '', { mode: 0o600 });
  mkdirSync(dirname(path), { mode: 0o700 });
  symlinkSync(target, path);
  const { gid, mode } = statSync(target);
  const listener = await listen(path, { mode: 0o660, gid: process.getegid!() });
  assert.ok(lstatSync(path).isSocket());
  assert.equal([statSync(target).gid, statSync(target).mode], [gid, mode]);
  await listener.close();
});

test('directories that are made for a socket with a group let that group enter, and not write', async ({ path }) => {
  const deep = join(path, 'deep/kms.sock');
  // Only root can give a directory to another group.
  const gid = process.geteuid!() === 0 ? 12_345 : process.getegid!();
  const listener = await listen(deep, { mode: 0o660, gid });
  for (const directory of [dirname(path), path, dirname(deep)]) {
    assert.equal([statSync(directory).mode & 0o777, statSync(directory).gid], [0o750, gid]);
  }
  await listener.close();
});

test('a live socket is not stolen', async ({ path }) => {
  const first = await listen(path);
  const inode = statSync(path).ino;
  assert.is(await codeOf(listen(path)), 'ERR_SOCKET_IN_USE');
  assert.is(statSync(path).ino, inode);
  await first.close();
});

test('connections beyond 128 are closed and told of, and the others are kept', async ({ path }) => {
  let refused = 0;
  const listener = await listen(path, { onConnection: () => undefined, onRefused: () => refused++ });
  const open = await Promise.all(
    Array.from({ length: 140 }, async () => {
      const socket = connect(path).on('error', () => undefined);
      await once(socket, 'connect');
      return socket.resume();
    }),
  );
  const kept = () => open.filter((socket) => !socket.destroyed && !socket.readableEnded).length;
  await until('those beyond it are closed', () => kept() <= 128, { everyMs: 10 });
  await sleep(100);
  assert.is(kept(), 128);
  assert.is(refused, 12);
  for (const socket of open) socket.destroy();
  await listener.close();
});

test('what is no socket is replaced only because it does not answer', async ({ path }) => {
  await (await listen(path)).close();
  writeFileSync(path, 'left over');
  const listener = await listen(path);
  assert.ok(await isLive(path));
  await listener.close();
});

test('a directory in the place of the socket is named, and stays', async ({ path }) => {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const error = (await listen(path).catch((error: unknown) => error)) as SocketError;
  assert.is(error.code, 'ERR_SOCKET_PATH');
  assert.match(error.message, 'a directory is in the place of the socket. Fix: move aside');
  assert.ok(statSync(path).isDirectory());
});

/** The kernel's list of sockets has the name from before the rename, so systemd takes ours for a dead one. */
function cleaned(path: string): void {
  const rules = join(path, '../../rules.conf');
  writeFileSync(rules, `d ${dirname(path)} 0700 - - 0\n`);
  const { status, stderr } = spawnSync('systemd-tmpfiles', ['--clean', rules], { encoding: 'utf8' });
  assert.is(status, 0, stderr);
  assert.not.ok(existsSync(path));
}
const cleaner = spawnSync('systemd-tmpfiles', ['--version']);
if (cleaner.status !== 0) console.log('SKIPPED a socket that systemd-tmpfiles removes: apt-get install systemd');

function writtenBeside(path: string): string {
  writeFileSync(`${path}.new`, '');
  return `${path}.new`;
}

for (const [what, happens] of [
  ['is removed', (path: string) => rmSync(path)],
  ['is removed with its directory', (path: string) => rmSync(dirname(path), { recursive: true })],
  ...(cleaner.status === 0 ? [['is removed by systemd-tmpfiles', cleaned] as const] : []),
  ['gives way to a file', (path: string) => renameSync(writtenBeside(path), path)],
] as const) {
  test(`a socket that ${what} is noticed within a second, once, and can be opened again`, async ({ path }) => {
    const clock = new FakeClock();
    let lost = 0;
    const first = await listen(path, { clock, onLost: () => lost++ });
    await clock.advance(5_000);
    assert.is(lost, 0);
    happens(path);
    await clock.advance(1_000);
    assert.is(lost, 1);
    await clock.advance(5_000);
    assert.is(lost, 1);
    const second = await listen(path, { clock });
    for (const [listener, live] of [
      [first, true],
      [second, false],
    ] as const) {
      const closing = listener.close();
      await clock.advance(1_000);
      await closing;
      assert.is(await isLive(path), live);
    }
  });
}

test('a listener that was closed is not lost', async ({ path }) => {
  const clock = new FakeClock();
  let lost = 0;
  const listener = await listen(path, { clock, onLost: () => lost++ });
  const closing = listener.close();
  await clock.advance(5_000);
  await closing;
  assert.is(lost, 0);
});

test('at no moment of a take-over is there no socket', async ({ path }) => {
  const listeners = [await listen(path)];
  let failed = 0;
  let tried = 0;
  const over = new AbortController();
  const trying = (async () => {
    while (!over.signal.aborted) {
      tried++;
      if (!(await isLive(path))) failed++;
    }
  })();
  for (let round = 0; round < 20; round++) {
    const successor = await listen(path, { takeOver: true });
    await listeners.at(-1)!.close();
    listeners.push(successor);
  }
  over.abort();
  await trying;
  assert.is(failed, 0, `${failed} of ${tried} connections failed`);
  await listeners.at(-1)!.close();
});

test("close removes its own socket, and leaves a successor's", async ({ path }) => {
  const first = await listen(path);
  const second = await listen(path, { takeOver: true });
  await first.close();
  assert.ok(await isLive(path));
  await second.close();
  assert.not.ok(existsSync(path));
});

test('a directory that cannot be made is an error that names the path', async ({ path }) => {
  await (await listen(path)).close();
  writeFileSync(path, '');
  assert.is(await codeOf(listen(join(path, 'below'))), 'ERR_SOCKET_BIND');
});

test.run();
