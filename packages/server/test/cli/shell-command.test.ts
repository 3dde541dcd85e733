import { FakeClock, newDirectory, rejectsWithCode, until } from '@teapot-kms/testing';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { runShell } from '../../src/cli/shell-command.ts';

/** Whether a process runs: one that nobody has waited for yet is dead too. */
function runs(pid: string): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

test('what a command prints is returned', async () => {
  assert.is(await runShell('echo a; echo b >&2', 60_000), 'a\n');
});

test('a command that fails says why, and what to do', async () => {
  const error = await rejectsWithCode(() => runShell('echo no such host >&2; exit 2', 60_000), 'ERR_KMS_KEYSET_RULE');
  assert.match(error.message, 'exit 2: no such host');
  assert.match(error.remedy!, 'run that command yourself');
});

test('a command that takes too long says so, and nothing of it goes on', async () => {
  const directory = newDirectory();
  const [pids, after] = [join(directory, 'pids'), join(directory, 'after')];
  const clock = new FakeClock();
  const command = `sleep 1000 & (sleep 1000; touch ${after}) & echo $! $$ > ${pids}.new; mv ${pids}.new ${pids}; wait; touch ${after}`;
  const ended = rejectsWithCode(() => runShell(command, 60_000, clock), 'ERR_KMS_KEYSET_RULE');
  await until('the command runs', () => existsSync(pids));
  const [subshell, shell] = readFileSync(pids, 'utf8').trim().split(' ') as [string, string];
  assert.ok(runs(subshell) && runs(shell));
  await clock.advance(60_000);
  assert.match((await ended).message, `${after}: no end within 60 s`);
  await until('all of it has ended', () => !runs(subshell) && !runs(shell));
  assert.not(existsSync(after));
});

test.run();
