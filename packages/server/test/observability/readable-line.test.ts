import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readableLine } from '../../src/observability/readable-line.ts';

const base = { level: 'info', time: '2026-01-02T03:04:05.678Z', pid: 1 };

test('time, level, instance and text come first, then the fields', () => {
  const line = readableLine(
    JSON.stringify({ ...base, instance: 'main', from: 'a', ms: 1.5, list: [1], msg: 'key switched' }),
  );
  assert.is(line, '2026-01-02 03:04:05.678Z INFO  [main] key switched from=a ms=1.5 list=[1]\n');
});

test('an error follows with its code, its remedy and its causes', () => {
  const error = {
    name: 'KmsError',
    code: 'ERR_KMS_A',
    message: 'one',
    remedy: 'do this',
    cause: { name: 'Error', message: 'two' },
  };
  const line = readableLine(JSON.stringify({ ...base, level: 'error', error, msg: 'it failed' }));
  assert.is(line, '2026-01-02 03:04:05.678Z ERROR it failed\n  ERR_KMS_A: one\n  remedy: do this\n    two\n');
});

test('what comes from outside cannot control the terminal', () => {
  const text = 'red\u001b[31m\r\nINFO forged';
  const line = readableLine(JSON.stringify({ ...base, uid: text, msg: text, error: { message: text } }));
  assert.not.match(line.replaceAll('\n', ''), /[\u0000-\u001f]/);
  assert.is(line.split('\n').length, 3);
});

test.run();
