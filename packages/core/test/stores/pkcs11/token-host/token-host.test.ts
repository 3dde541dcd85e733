// A real host with a module and token: integration/pkcs11. Here is what comes before there is a process.
import { rejectsWithCode } from '@teapot-kms/testing';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { NotBegun } from '../../../../src/stores/pkcs11/token-host/call.ts';
import { TokenHost } from '../../../../src/stores/pkcs11/token-host/token-host.ts';

const newHost = () => new TokenHost({ modulePath: '/no/such/module.so', sessions: 1, callTimeoutMs: 1_000 });
const ask = (host: TokenHost) =>
  host.call(() => ({ op: 'token', token: {} }), { owner: host, signal: AbortSignal.timeout(10_000) });

test('a plugin without a file descriptor left is told that there is no process, and goes on', () => {
  const script = join(import.meta.dirname, '../../../support/starved-host.ts');
  const args = ['-c', 'ulimit -n 64; exec "$0" "$@"', process.execPath, '--conditions=teapot-source', script];
  const { status, stdout, stderr } = spawnSync('/bin/sh', args, { encoding: 'utf8', timeout: 60_000 });
  assert.is(status, 0, stderr);
  const { starved, starts } = JSON.parse(stdout) as { starved: string; starts: number };
  assert.match(starved, /^ERR_KMS_STORE_UNAVAILABLE: the token host: .*EMFILE.*; started again in \d+ s$/);
  assert.ok(starts >= 2, 'it was tried again');
});

test('a closed host refuses, starts nothing, and may be closed twice', async () => {
  const host = newHost();
  await host.close();
  await host.close();
  await rejectsWithCode(() => ask(host), 'ERR_KMS_CLOSED');
  assert.is(host.counters.token_host_starts, 0);
});

test('who waits while no process can be started again learns that nothing was begun', async () => {
  const host = newHost();
  const error = await rejectsWithCode(() => ask(host), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.instance(error, NotBegun);
  assert.match(error.message, /started again in \d+ s/);
  await host.close();
});

test('who waits is told when the host is closed', async () => {
  const host = newHost();
  const waiting = ask(host);
  await host.close();
  await rejectsWithCode(() => waiting, 'ERR_KMS_CLOSED');
});

test.run();
