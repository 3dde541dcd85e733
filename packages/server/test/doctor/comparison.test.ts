// What doctor advises where the plugin, the key store or a replica is behind: what is printed is done, and what was sealed before opens.
import { generateKey, HostRecords, KeysetService, verifyReport } from '@teapot-kms/core';
import type { Finding, StoredManifest } from '@teapot-kms/core';
import { FakeClock, FaultInjectingSource, newDirectory, settle } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { InstanceConfig } from '../../src/config/schema.ts';
import { compareKeysets } from '../../src/doctor/comparison.ts';
import { compareReplicas } from '../../src/doctor/replicas.ts';
import type { InstanceDescription } from '../../src/observability/metrics.ts';

const PROBE_MS = 30_000;
const plaintext = Buffer.from('a seed');
const context = { signal: new AbortController().signal };
/** Of a store that replicas share. */
const instance = {
  name: 'main',
  socket: '/run/kms.sock',
  keys: { uri: 'k8s-secret:ns/s' },
  probeInterval: PROBE_MS,
} as unknown as InstanceConfig;

/** A plugin that no watch tells of a change, after the store has changed. */
async function behind() {
  const [source, clock] = [new FaultInjectingSource(), new FakeClock()];
  await generateKey(source.admin, { clock });
  const unwatched = { uri: source.uri, load: source.load.bind(source), watch: () => () => undefined };
  const service = new KeysetService({ source: unwatched, clock, probeIntervalMs: PROBE_MS });
  service.start();
  await settle();
  const { ciphertext } = await service.encrypt(plaintext, context);
  await generateKey(source.admin, { clock });
  const manifest: StoredManifest = (await source.admin.readManifest())!.manifest;
  const opens = async (): Promise<void> => {
    assert.equal(await service.decrypt({ ciphertext }, context), plaintext);
    await service.close();
  };
  const { proofs } = await source.load(context);
  return { service, clock, manifest, proofs, opens };
}

test('a running plugin that has another generation than the store: one probe later it is the same', async () => {
  const { service, clock, manifest, opens } = await behind();
  const compare = (): Promise<Finding[]> =>
    compareKeysets(instance, manifest, service.describe() as unknown as InstanceDescription, {
      records: new HostRecords(newDirectory()),
      formers: [],
    });
  const [{ text, remedy = '' }] = (await compare()) as [Finding];
  assert.match(text, /uses generation 1, .*; the key store has generation 2/);
  const [, seconds] = /^wait for the next probe \((\d+) s at most\), and run doctor again$/.exec(remedy)!;
  await clock.advance(1_000 * Number(seconds));
  assert.equal(await compare(), []);
  await opens();
});

test('a replica that is behind a store that all share: one probe later its report is the same', async () => {
  const { service, clock, manifest, proofs, opens } = await behind();
  const subject = { replica: '0'.repeat(16), host: 'node-2', time: '2026-01-01T00:00:00.000Z', nonce: '0'.repeat(32) };
  const compare = (): Finding[] => {
    const report = service.report(subject);
    const shown = new Map([[report, verifyReport(report, proofs)]]);
    return compareReplicas(instance, manifest, [report], { proofs: shown, now: new Date(subject.time) });
  };
  assert.is(compare()[0]!.remedy, 'wait for the next probe of the plugin on node-2, and make a new report there');
  await clock.advance(1.25 * PROBE_MS);
  assert.equal(
    compare().map(({ level, text }) => [level, text]),
    [['ok', `has the same keyset, and proves that it holds ${manifest.keys.map(({ id }) => id).join(', ')}`]],
  );
  await opens();
});

test.run();
