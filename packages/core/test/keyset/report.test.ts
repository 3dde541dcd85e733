import { rejectsWithCode } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { KeyProof } from '../../src/keyset/key-proof.ts';
import { makeReport, parseReport, provesKey, replicaId, verifyReport } from '../../src/keyset/report.ts';
import type { ReplicaReport } from '../../src/keyset/report.ts';
import { SecretBytes } from '../../src/util/secret-bytes.ts';

const contextId = Buffer.alloc(16, 1);
const proofOf = (key: Buffer, id: string) => new KeyProof(new SecretBytes(key), contextId, id);
const [one, two] = [randomBytes(32), randomBytes(32)];
const body = {
  replica: replicaId('/run/kms.sock'),
  host: 'node-1',
  time: '2026-01-02T03:04:05.000Z',
  nonce: '00'.repeat(16),
  contextId: contextId.toString('hex'),
  generation: 3,
  hash: 'ab'.repeat(32),
  reads: [1, 2],
};
const report = makeReport(
  body,
  new Map([
    ['one', proofOf(one, 'one')],
    ['two', proofOf(two, 'two')],
  ]),
);

test('a report proves each key that it lists, to whoever has the key', () => {
  const read = parseReport(JSON.stringify(report), 'report.json');
  assert.equal(read, report);
  assert.ok(provesKey(read, 'one', proofOf(one, 'one')));
  assert.ok(provesKey(read, 'two', proofOf(two, 'two')));
});

test('the keys of a report are sorted by what their MACs show', () => {
  const proofs = new Map([['one', proofOf(one, 'one')]]);
  assert.equal(verifyReport(report, proofs), { proven: ['one'], refuted: [], unknown: ['two'] });
  const edited = { ...report, generation: 4 };
  assert.equal(verifyReport(edited, proofs), { proven: [], refuted: ['one'], unknown: ['two'] });
});

test('it does not prove another key, nor one that it does not list', () => {
  assert.not(provesKey(report, 'one', proofOf(randomBytes(32), 'one')));
  assert.not(provesKey(report, 'three', proofOf(randomBytes(32), 'three')));
  assert.not(provesKey(report, 'two', proofOf(one, 'one')));
});

const changes: [what: string, change: (report: ReplicaReport) => ReplicaReport][] = [
  ['replica', (report) => ({ ...report, replica: '0'.repeat(16) })],
  ['host', (report) => ({ ...report, host: 'node-2' })],
  ['time', (report) => ({ ...report, time: '2026-01-02T03:04:06.000Z' })],
  ['nonce', (report) => ({ ...report, nonce: '11'.repeat(16) })],
  ['context', (report) => ({ ...report, contextId: 'ff'.repeat(16) })],
  ['generation', (report) => ({ ...report, generation: 4 })],
  ['hash', (report) => ({ ...report, hash: 'cd'.repeat(32) })],
  ['formats', (report) => ({ ...report, reads: [1] })],
  ['list of keys', (report) => ({ ...report, keys: report.keys.slice(0, 1) })],
];
for (const [what, change] of changes) {
  test(`a report with another ${what} proves nothing`, () => {
    assert.not(provesKey(change(report), 'one', proofOf(one, 'one')));
  });
}

test('the order of the fields in the file does not matter', () => {
  const reversed = Object.fromEntries(Object.entries(report).toReversed());
  assert.ok(provesKey(parseReport(JSON.stringify(reversed), 'x'), 'one', proofOf(one, 'one')));
});

test('what is no report is refused, with the file, the field and what to do', async () => {
  const texts = [
    '',
    'keyset.yaml',
    '[]',
    '{}',
    JSON.stringify({ ...report, extra: 1 }),
    JSON.stringify({ ...report, nonce: 'x' }),
    ' '.repeat(300_000),
  ];
  for (const text of texts) {
    const error = await rejectsWithCode(() => parseReport(text, 'node-1.json'), 'ERR_KMS_INVALID_REQUEST');
    assert.match(error.message, /^node-1.json: not a report of a replica: /);
    assert.match(error.remedy ?? '', /status --report/);
  }
});

test('two sockets of a host are two replicas', () => {
  assert.is.not(replicaId('/run/a.sock'), replicaId('/run/b.sock'));
  assert.is(replicaId('/run/a.sock'), replicaId('/run/a.sock'));
});

test('two pods of a host that serve the same path are two replicas', () => {
  assert.is.not(replicaId('/run/a.sock', 'mnt:[1]'), replicaId('/run/a.sock', 'mnt:[2]'));
});

test.run();
