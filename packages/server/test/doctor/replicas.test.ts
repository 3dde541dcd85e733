import { SecretBytes, verifyReport } from '@teapot-kms/core';
import type { ReplicaReport, StoredManifest } from '@teapot-kms/core';
import { KeyProof, makeReport } from '@teapot-kms/core/internal';
import { version1Manifest } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { InstanceConfig } from '../../src/config/schema.ts';
import { compareReplicas, foreignReport } from '../../src/doctor/replicas.ts';

const now = new Date('2026-01-02T03:04:05.000Z');
const stored: StoredManifest = { ...version1Manifest('one'), generation: 5, hash: 'ab'.repeat(32) };
const proofOf = (byte: number, id = 'one') =>
  new KeyProof(new SecretBytes(Buffer.alloc(32, byte)), Buffer.from(stored.contextId, 'hex'), id);
/** As the key store has them. */
const here = new Map([['one', proofOf(1)]]);

function reportOf(change: Partial<ReplicaReport> = {}, keys = here): ReplicaReport {
  const { contextId, generation, hash } = stored;
  const own = { replica: '11'.repeat(8), host: 'node-2', time: now.toISOString(), nonce: '00'.repeat(16) };
  return makeReport({ ...own, contextId, generation, hash, reads: [1, 2], ...change }, keys);
}

/** What doctor says of a report, as `level: text`, and the remedies. */
function saidOf(report: ReplicaReport, keys: ReadonlyMap<string, KeyProof> = here) {
  const instance = { name: 'main', keys: { uri: 'file:/keys' } } as unknown as InstanceConfig;
  const proofs = new Map([[report, verifyReport(report, keys)]]);
  const findings = compareReplicas(instance, stored, [report], { proofs, now });
  assert.ok(findings.every(({ about }) => about === 'main, replica on node-2'));
  return {
    texts: findings.map(({ level, text }) => `${level}: ${text}`),
    remedies: findings.flatMap(({ remedy }) => remedy ?? []),
  };
}

test('a report whose MACs are right is believed, and doctor says what it proves', () => {
  assert.equal(saidOf(reportOf()).texts, ['ok: has the same keyset, and proves that it holds one']);
});

const two = new Map([...here, ['two', proofOf(2, 'two')]]);
const older = reportOf({ generation: 4, hash: '00'.repeat(32), time: '2026-01-01T00:00:00.000Z' }, two);
for (const [what, edited] of [
  ['its generation', { ...older, generation: 5, hash: stored.hash }],
  ['its time', { ...older, time: now.toISOString() }],
  ['its list of keys', { ...older, keys: older.keys.slice(0, 1) }],
] as const) {
  test(`a report that was edited in ${what} is not believed, and doctor asks for a new one`, () => {
    const { texts, remedies } = saidOf(edited);
    assert.is(texts.length, 1);
    assert.match(texts[0]!, 'problem: its report is not believed: it was changed after it was made');
    assert.match(
      remedies[0]!,
      'make a new report on node-2 (teapot-kms status --report --config FILE --instance NAME)',
    );
  });
}

test('another key under a known id is not proved by a report that is genuine by another key', () => {
  const { texts } = saidOf(reportOf({}, new Map([...here, ['two', proofOf(3, 'two')]])), two);
  assert.match(texts[0]!, 'problem: has another key under the id two');
});

test('a report of which no key is here may say what it likes: doctor says that nothing is verified', () => {
  const { texts } = saidOf(reportOf(), new Map());
  assert.equal(texts, [
    'hint: nothing in its report is verified, because none of its keys can be loaded here: somebody may have changed it',
    'hint: says that it has the same keyset',
  ]);
});

test('a report without keys is verified by nothing', () => {
  const { texts } = saidOf({ ...reportOf(), keys: [] });
  assert.match(texts[0]!, 'because it lists no key');
  assert.match(texts[1]!, 'problem: has not loaded one');
});

test('a key that is not here is named as not verified, in a report that is verified by another key', () => {
  const { texts } = saidOf(reportOf({}, two));
  assert.match(texts[0]!, 'hint: its report is verified, but not that it holds two');
  assert.match(texts[1]!, 'ok: has the same keyset');
});

test('a genuine report of long ago says nothing of the present', () => {
  const { texts, remedies } = saidOf(reportOf({ time: '2026-01-02T02:04:05.000Z' }));
  assert.match(texts[0]!, 'hint: has reported 60 min ago; a report is valid for 10 min');
  assert.match(remedies[0]!, 'make a new report on node-2');
});

test('a report of a keyset that is nowhere here is a problem, and nothing in it is verified', () => {
  const { level, text } = foreignReport(reportOf({ contextId: 'ff'.repeat(16) }));
  assert.is(level, 'problem');
  assert.match(text, 'nothing in its report is verified');
});

test.run();
