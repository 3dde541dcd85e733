import { newDirectory, rejectsWithCode } from '@teapot-kms/testing';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { MAX_INPUT_BYTES, parsePrinted, readInput, valueOfInput } from '../../src/inspect/value-text.ts';
import { kmsV2 } from '../support/stored-values.ts';

const value = kmsV2({ keyId: 'key-1', encryptedDekSource: Buffer.from('c') });

test('raw bytes are taken as they are', () => {
  assert.equal(valueOfInput(value), value);
});

test('base64 is decoded, also in lines', () => {
  const text = value.toString('base64');
  assert.equal(valueOfInput(Buffer.from(text)), value);
  assert.equal(valueOfInput(Buffer.from(`${text.slice(0, 40)}\n${text.slice(40)}\n`)), value);
  assert.equal(
    valueOfInput(Buffer.from(Buffer.from('{"kind":"Secret"}').toString('base64'))).toString(),
    '{"kind":"Secret"}',
  );
});

test('base64 of something else is plain text', () => {
  assert.is(valueOfInput(Buffer.from('abcd')).toString(), 'abcd');
});

test('nothing, and more than a value may have, are refused; the value of one key is taken', async () => {
  await rejectsWithCode(() => valueOfInput(Buffer.alloc(0)), 'ERR_KMS_STORED_VALUE_MALFORMED');
  const tooMuch = () => valueOfInput(Buffer.alloc(MAX_INPUT_BYTES + 1));
  const { remedy } = await rejectsWithCode(tooMuch, 'ERR_KMS_STORED_VALUE_MALFORMED');
  assert.match(remedy ?? '', /^give the value of one key/);
  assert.equal(valueOfInput(value), value);
});

test('a file is read to its end', () => {
  const file = join(newDirectory(), 'value');
  const content = Buffer.alloc(200_000, 'x');
  writeFileSync(file, content);
  assert.ok(readInput(file).equals(content));
});

test('a file without an end is not read to its end', () => {
  assert.ok(readInput('/dev/zero').length > MAX_INPUT_BYTES);
});

test('the line break of etcdctl is no part of the value', () => {
  const { bytes } = parsePrinted(Buffer.concat([value, Buffer.from('\n')]));
  assert.equal(bytes, value);
});

test('a value that is damaged with and without its line break is refused', async () => {
  await rejectsWithCode(() => parsePrinted(Buffer.from('k8s:enc:kms:v2:n:x\n')), 'ERR_KMS_STORED_VALUE_MALFORMED');
});

test.run();
