import { spawn } from 'node:child_process';
import type { ChildProcess, StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

const CHILD = join(import.meta.dirname, 'log-child.ts');
const NODE = [process.execPath, '--conditions=teapot-source', CHILD];

interface Said {
  readonly dropped: number;
}

/** @param shell - runs `"$@"`, the program, with a stderr of its choice */
async function startLogger(stderr: 'pipe' | number, shell?: string): Promise<{ child: ChildProcess; said: Said }> {
  const stdio: StdioOptions = ['ignore', 'ignore', stderr, 'ipc'];
  const child = shell
    ? spawn('/bin/bash', ['-c', shell, 'bash', ...NODE], { stdio })
    : spawn(NODE[0]!, NODE.slice(1), { stdio });
  const [said] = (await once(child, 'message')) as [Said];
  return { child, said };
}

async function endsBySigterm(child: ChildProcess): Promise<void> {
  child.kill('SIGTERM');
  const [code] = (await once(child, 'exit')) as [number | null];
  assert.is(code, 0);
}

test('a socket whose reader stands still stops nothing, and a line counts what was dropped when it reads on', async () => {
  // Node makes a pair of sockets, as journald has.
  const { child, said } = await startLogger('pipe');
  assert.ok(said.dropped > 3_000, `${said.dropped} dropped`);
  let text = '';
  child.stderr!.on('data', (chunk: Buffer) => (text += chunk.toString()));
  while (!text.includes('dropped')) await once(child.stderr!, 'data');
  const lines = text.trimEnd().split('\n');
  assert.is(lines.length - 1 + said.dropped, 5_000);
  await endsBySigterm(child);
});

test('a pipe whose reader stands still stops nothing, not even the end', async () => {
  const { child, said } = await startLogger('pipe', 'exec "$@" 2> >(sleep 60 & echo $! >&2; wait)');
  assert.ok(said.dropped > 3_000, `${said.dropped} dropped`);
  const [sleeper] = (await once(child.stderr!, 'data')) as [Buffer];
  await endsBySigterm(child);
  process.kill(Number(sleeper.toString()));
});

test('a pipe that nobody reads any more stops nothing', async () => {
  const { child, said } = await startLogger('pipe', 'exec "$@" 2> >(exec true)');
  assert.ok(said.dropped > 3_000, `${said.dropped} dropped`);
  await endsBySigterm(child);
});

test('a device without space stops nothing', async () => {
  const full = openSync('/dev/full', 'w');
  const { child, said } = await startLogger(full);
  closeSync(full);
  assert.ok(said.dropped > 3_000, `${said.dropped} dropped`);
  await endsBySigterm(child);
});

test('a file that cannot grow stops nothing, and goes on when it can', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'teapot-'));
  const path = join(directory, 'log');
  const file = openSync(path, 'a');
  // The signal of the limit would end other programs.
  const { child, said } = await startLogger(file, 'trap "" XFSZ; ulimit -S -f 16; exec "$@"');
  assert.ok(said.dropped > 3_000, `${said.dropped} dropped`);
  spawn('prlimit', ['--pid', String(child.pid), '--fsize=unlimited:unlimited']);
  const all = (): string[] => readFileSync(path, 'utf8').trimEnd().split('\n');
  while (!all().at(-1)!.includes('dropped')) await new Promise((resolve) => setTimeout(resolve, 50));
  assert.is(all().length - 1 + said.dropped, 5_000);
  await endsBySigterm(child);
  closeSync(file);
  rmSync(directory, { recursive: true });
});

test.run();
