import { FakeClock, until } from '@teapot-kms/testing';
import { mkdtempSync, readFileSync, renameSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { CallRecord } from '../../src/kms/endpoint.ts';
import { AuditFile } from '../../src/observability/audit-file.ts';
import { AuditLog } from '../../src/observability/audit-log.ts';
import { LogOutput } from '../../src/observability/log-output.ts';
import type { LogWriter } from '../../src/observability/log-output.ts';
import { GrpcStatus } from '../../src/transport/seam.ts';

interface Context {
  directory: string;
  file: string;
}
const test = suite<Context>('audit log');
test.before.each((context) => {
  context.directory = mkdtempSync(join(tmpdir(), 'teapot-audit-'));
  context.file = join(context.directory, 'audit.log');
});
test.after.each(({ directory }) => rmSync(directory, { recursive: true }));

/** A log whose lines are kept. */
function kept(calls = false) {
  const clock = new FakeClock();
  let text = '';
  const output = new LogOutput((bytes, done) => {
    text += bytes.toString();
    done(bytes.length);
  }, clock);
  const lines = () =>
    text
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  return { log: new AuditLog(output, { calls, clock }), lines };
}

const key = (id: string, state: string) => ({ id, state, decrypts: 0, verified: true });
const call = (method: string, changes: Partial<CallRecord> = {}) =>
  ({
    endpoint: { api: 'v2', method, path: '' },
    status: GrpcStatus.OK,
    durationMs: 1.23456,
    uid: 'u1',
    keyId: 'k1',
    error: undefined,
    ...changes,
  }) as CallRecord;

test('a key has a line when it appears, when its state changes, and when it is gone; otherwise none', () => {
  const { log, lines } = kept();
  log.keys('a', [key('k1', 'promoted')]);
  log.keys('a', [key('k1', 'promoted')]);
  log.keys('b', [key('k1', 'promoted')]);
  log.keys('a', [key('k1', 'retired'), key('k2', 'promoted')]);
  log.keys('a', [key('k2', 'promoted')]);
  assert.equal(
    lines().map(({ event, instance, keyId, from, to }) => [event, instance, keyId, from, to].join(' ')),
    [
      'key a k1 absent promoted',
      'key b k1 absent promoted',
      'key a k1 promoted retired',
      'key a k2 absent promoted',
      'key a k1 retired absent',
    ],
  );
  assert.match(String(lines()[0]!['keyIdHash']), /^sha256:/);
});

test('calls have lines only where they are asked for, and only Encrypt and Decrypt', () => {
  const without = kept();
  without.log.called('a', call('Encrypt'));
  assert.equal(without.lines(), []);
  const { log, lines } = kept(true);
  log.called('a', call('Status'));
  log.called('a', call('Decrypt', { status: GrpcStatus.INTERNAL, keyId: undefined }));
  assert.equal(
    lines().map((line) => ({ ...line, time: undefined })),
    [
      {
        time: undefined,
        event: 'call',
        instance: 'a',
        api: 'v2',
        method: 'Decrypt',
        uid: 'u1',
        code: 'INTERNAL',
        ms: 1.235,
      },
    ],
  );
});

test('ids that callers choose are cut, and stay in their line', () => {
  const { log, lines } = kept(true);
  log.called('a', call('Decrypt', { uid: `x\n${'y'.repeat(1_000)}`, keyId: '\u001b[31m' }));
  assert.is(lines().length, 1);
  assert.is(String(lines()[0]!['uid']).length, 128);
  assert.is(lines()[0]!['keyId'], '[31m');
});

const written = (file: string, text: string) => until('it is written', () => readFileSync(file, 'utf8') === text);

test('only its user reads the file, and after reopen lines go to a new one', async ({ file }) => {
  const audit = new AuditFile(file, () => assert.unreachable());
  const output = new LogOutput(audit.write);
  output.write('one\n');
  await written(file, 'one\n');
  assert.is(statSync(file).mode & 0o777, 0o600);
  renameSync(file, `${file}.1`);
  output.write('two\n');
  await written(`${file}.1`, 'one\ntwo\n');
  audit.reopen();
  output.write('three\n');
  await written(file, 'three\n');
  assert.is(readFileSync(`${file}.1`, 'utf8'), 'one\ntwo\n');
});

test('a file that cannot be opened is reported once, and its lines are written when it can be', async ({
  directory,
  file,
}) => {
  symlinkSync('/dev/null', file);
  const errors: unknown[] = [];
  const clock = new FakeClock();
  const audit = new AuditFile(file, (error) => errors.push(error));
  let attempts = 0;
  const counted: LogWriter = (bytes, done) => {
    audit.write(bytes, (count) => {
      done(count);
      attempts++;
    });
  };
  const output = new LogOutput(counted, clock);
  output.write('one\n');
  for (let n = 1; n <= 3; n++) {
    await until('it was tried again', () => attempts === n);
    if (n < 3) await clock.advance(100);
  }
  assert.is(errors.length, 1);
  rmSync(join(directory, 'audit.log'));
  await clock.advance(100);
  await written(file, 'one\n');
});

test.run();
