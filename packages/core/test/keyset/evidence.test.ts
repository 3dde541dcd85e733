import { rejectsWithCode } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { checkHeldByAll, checkReadByAll, checkSameKeys } from '../../src/keyset/evidence.ts';
import { KeyProof } from '../../src/keyset/key-proof.ts';
import { makeReport } from '../../src/keyset/report.ts';
import type { ReplicaReport, ReportBody } from '../../src/keyset/report.ts';
import { SecretBytes } from '../../src/util/secret-bytes.ts';
import { manifestOf } from '../support/manifests.ts';

const now = new Date('2026-01-02T03:04:05.000Z');
const manifest = { ...manifestOf('promoted', 'pending'), generation: 5 };
const { contextId, generation, hash } = manifest;
const [pending] = manifest.keys.slice(1);
const key = randomBytes(32);
const proofOf = (bytes: Buffer) => new KeyProof(new SecretBytes(bytes), Buffer.from(contextId, 'hex'), pending!.id);

function reportOf(replica: string, change: Partial<ReportBody> = {}, bytes = key): ReplicaReport {
  const body = {
    replica: replica.repeat(16),
    host: `node-${replica}`,
    time: now.toISOString(),
    nonce: '00'.repeat(16),
    contextId,
    generation,
    hash,
    reads: [1, 2],
    ...change,
  };
  return makeReport(body, new Map([[pending!.id, proofOf(bytes)]]));
}

const held = (reports: readonly ReplicaReport[], replicas = 2): void =>
  checkHeldByAll(manifest, pending!.id, proofOf(key), { reports, replicas, now });

test('a key that every replica proves may be promoted', () => {
  held([reportOf('1'), reportOf('2')]);
  held([reportOf('1'), reportOf('2'), reportOf('3')]);
});

test('fewer replicas than there are do not suffice, and one that reports twice is one', async () => {
  for (const reports of [[], [reportOf('1')], [reportOf('1'), reportOf('1')]]) {
    const error = await rejectsWithCode(() => held(reports), 'ERR_KMS_KEYSET_RULE');
    assert.match(error.message, /of 2 replicas have reported/);
    assert.match(error.remedy ?? '', /status --report. on each of the others, and give all reports/);
    held([...reports, reportOf('1'), reportOf('2')]);
  }
});

const doubts: [what: string, second: ReplicaReport, message: RegExp][] = [
  ['has another key under the id', reportOf('2', {}, randomBytes(32)), /does not hold key key-1, or another key/],
  ['does not list the key', { ...reportOf('2'), keys: [] }, /does not hold key key-1/],
  [
    'uses an older generation',
    reportOf('2', { generation: 4, hash: 'ab'.repeat(32) }),
    /uses generation 4 .* the store has generation 5/,
  ],
  ['uses another keyset', reportOf('2', { contextId: 'ff'.repeat(16) }), /uses another keyset, f+/],
  ['reported long ago', reportOf('2', { time: '2026-01-02T02:50:05.000Z' }), /reported 14 min ago/],
  ['reports from the future', reportOf('2', { time: '2026-01-02T03:10:05.000Z' }), /of the future/],
  ['was changed on the way', { ...reportOf('2'), host: 'node-9' }, /node-9 does not hold/],
];
for (const [what, second, message] of doubts) {
  test(`a replica that ${what} is named, and the key is not promoted`, async () => {
    const error = await rejectsWithCode(() => held([reportOf('1'), second]), 'ERR_KMS_KEYSET_RULE');
    assert.match(error.message, message);
    assert.not.match(error.message, /node-1/);
    assert.match(error.remedy ?? '', 'wait until it has loaded it, and make a new report');
    held([reportOf('1'), reportOf('2')]);
  });
}

test('a keyset may be converted when every replica reads the new format', async () => {
  const read = (second: ReplicaReport) =>
    checkReadByAll(manifest, 2, { reports: [reportOf('1'), second], replicas: 2, now });
  const error = await rejectsWithCode(() => read(reportOf('2', { reads: [1] })), 'ERR_KMS_KEYSET_RULE');
  assert.match(error.message, /replica 2+ on node-2 does not read format version 2/);
  assert.is(error.remedy, 'upgrade the plugin of this replica, and make a new report');
  read(reportOf('2'));
});

for (const [what, proofs, message] of [
  [
    'other bytes than',
    new Map([[pending!.id, proofOf(randomBytes(32))]]),
    /holds other bytes than the store under the id key-1/,
  ],
  ['a key that is not whole in', new Map<string, KeyProof>(), /holds key key-1, which the store does not have whole/],
] as const) {
  test(`a keyset is not converted while a replica holds ${what} the store, and replica and key are named`, async () => {
    const evidence = { reports: [reportOf('1')], replicas: 1, now };
    const error = await rejectsWithCode(() => checkSameKeys(proofs, evidence), 'ERR_KMS_KEYSET_RULE');
    assert.match(error.message, message);
    assert.match(error.message, 'replica 1111111111111111 on node-1');
    assert.match(error.remedy ?? '', 'restore the keys');
    checkSameKeys(new Map([[pending!.id, proofOf(key)]]), evidence);
  });
}

test.run();
