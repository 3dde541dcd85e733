import { pino } from 'pino';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { KmsError } from '@teapot-kms/core';
import { FakeClock } from '@teapot-kms/testing';
import { CallLog } from '../../src/observability/call-log.ts';
import type { Endpoint } from '../../src/kms/endpoint.ts';
import { toDecryptError } from '../../src/kms/status-codes.ts';
import { GrpcStatus } from '../../src/transport/seam.ts';

const endpoint = { api: 'v2', method: 'Decrypt' } as Endpoint;

function setUp(level = 'info') {
  const lines: Record<string, unknown>[] = [];
  const log = pino(
    { level },
    { write: (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>) },
  );
  const clock = new FakeClock();
  return { lines, clock, callLog: new CallLog(log, clock) };
}

const failed = (uid: string) => ({
  endpoint,
  status: GrpcStatus.INVALID_ARGUMENT,
  durationMs: 1.23456,
  uid,
  keyId: undefined,
  error: toDecryptError(new KmsError('ERR_KMS_AUTHENTICATION_FAILED', 'the tag is wrong')),
});

test('a failed call is logged with uid, code and true reason', () => {
  const { lines, callLog } = setUp();
  callLog.write(failed('uid-1'));
  const [{ uid, code, method, ms, error }] = lines as [Record<string, unknown>];
  assert.equal({ uid, code, method, ms }, { uid: 'uid-1', code: 'INVALID_ARGUMENT', method: 'Decrypt', ms: 1.235 });
  assert.is((error as { code: string }).code, 'ERR_KMS_AUTHENTICATION_FAILED');
});

test('a call that went well is logged at debug only', () => {
  const ok = { endpoint, status: GrpcStatus.OK, durationMs: 1, uid: 'u', keyId: undefined, error: undefined };
  const quiet = setUp();
  quiet.callLog.write(ok);
  assert.is(quiet.lines.length, 0);
  const loud = setUp('debug');
  loud.callLog.write(ok);
  assert.is(loud.lines.length, 1);
});

test('of a storm of failures only the first are logged, and then how many more there were', async () => {
  const { lines, callLog, clock } = setUp();
  for (let i = 0; i < 1_000; i++) callLog.write(failed(`uid-${i}`));
  assert.is(lines.length, 20);
  await clock.advance(1_000);
  assert.is(lines.at(-1)?.['suppressed'], 980);
  callLog.write(failed('uid-later'));
  assert.is(lines.at(-1)?.['uid'], 'uid-later', 'the next second logs failures again');
  await clock.advance(1_000);
  assert.is(lines.length, 22);
});

test('of a uid at most 64 characters are logged, whatever the client sends', () => {
  const { lines, callLog } = setUp();
  callLog.write(failed(`${'😀'.repeat(50_000)}\u202e\n`));
  const uid = lines[0]?.['uid'] as string;
  assert.ok(uid.length <= 64 && uid.isWellFormed());
});

test('of a storm of calls that go well, too, only the first are logged at debug', async () => {
  const { lines, callLog, clock } = setUp('debug');
  const ok = { endpoint, status: GrpcStatus.OK, durationMs: 1, uid: 'u', keyId: undefined, error: undefined };
  for (let i = 0; i < 5_000; i++) callLog.write(ok);
  assert.is(lines.length, 1_000);
  await clock.advance(1_000);
  assert.is(lines.at(-1)?.['suppressed'], 4_000);
});

test.run();
