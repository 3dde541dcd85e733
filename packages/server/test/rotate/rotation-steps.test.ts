import { generateKey, KmsError } from '@teapot-kms/core';
import { formatManifest } from '@teapot-kms/core/internal';
import { FakeKeysetStore, rejectsWithCode } from '@teapot-kms/testing';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { rotationSteps } from '../../src/rotate/rotation-steps.ts';
import type { RotationTools } from '../../src/rotate/rotation-steps.ts';
import { FakeKubernetes, status } from '../support/fake-kubernetes.ts';
import { rowOf, scanOf } from '../support/scans.ts';

interface Site {
  store: FakeKeysetStore;
  kubernetes: FakeKubernetes;
  told: string[];
  /** What was asked for. */
  asked: string[];
  tools: RotationTools;
}
const test = suite<Site>('steps of a rotation');
const DAY_MS = 24 * 3_600_000;

test.before.each(async (site) => {
  const store = new FakeKeysetStore();
  const kubernetes = FakeKubernetes.of(3);
  const secrets = { name: 'secrets', namespaced: true, verbs: ['list', 'patch'] };
  kubernetes.documents.set('/api/v1', { resources: [secrets] });
  kubernetes.documents.set('/apis', { groups: [] });
  const told: string[] = [];
  const asked: string[] = [];
  const ask = <T>(what: string, answer: T): Promise<T> => {
    asked.push(what);
    return Promise.resolve(answer);
  };
  const tools: RotationTools = {
    admin: store,
    api: kubernetes,
    clock: kubernetes.clock,
    proofs: () => ask('proofs', new Map<string, never>()),
    reports: () => ask('reports', { reports: [], replicas: 2 }),
    servers: () => ask('servers', []),
    distribute: () => ask('distribute', undefined),
    scan: () => ask('scan', scanOf([rowOf('old')])),
    resources: undefined,
    rewriting: () => ({ rate: Infinity, onProgress: () => undefined, end: () => undefined }),
    renewAfterMs: DAY_MS,
    settleMs: 180_000,
    tell: (text) => told.push(text),
  };
  await generateKey(store, { clock: kubernetes.clock });
  Object.assign(site, { store, kubernetes, told, asked, tools });
});

const primaryOf = async (store: FakeKeysetStore): Promise<string> => (await store.readManifest())!.manifest.primary;

test('only what the next step needs is asked for', async ({ tools, asked, kubernetes, store }) => {
  const steps = rotationSteps(tools);
  await steps.look(undefined, true);
  assert.equal(asked.splice(0), [], 'a young primary');
  await kubernetes.clock.advance(DAY_MS);
  await steps.look(undefined, true);
  assert.equal(asked.splice(0), ['reports'], 'an aged primary');
  await steps.generate(await primaryOf(store));
  await steps.look(undefined, true);
  assert.equal(asked.splice(0), ['proofs', 'reports'], 'a pending key');
  const { manifest } = (await store.readManifest())!;
  const { id } = manifest.keys[1]!;
  const keys = manifest.keys.map((key) => ({ ...key, state: 'promoted' as const }));
  store.replaceManifest(formatManifest({ ...manifest, primary: id, keys }));
  await steps.look(undefined, true);
  assert.equal(asked.splice(0), ['servers'], 'a former primary');
  await steps.look(undefined, false);
  assert.equal(asked, [], 'a rotation that ends before any server matters needs no cluster');
});

test('a key whose predecessor has a copy outside its token is left to the operator', async ({ tools, store }) => {
  const { manifest } = (await store.readManifest())!;
  const keys = manifest.keys.map((key) => ({ ...key, imported: true as const }));
  store.replaceManifest(formatManifest({ ...manifest, keys }));
  const error = await rejectsWithCode(() => rotationSteps(tools).generate(manifest.primary), 'ERR_KMS_KEYSET_RULE');
  assert.match(error.remedy!, 'keys generate --escrow-to AGE-KEY --escrow-file FILE');
  assert.is((await store.readManifest())!.manifest.keys.length, 1);
});

test('of two rotations that saw the same old primary, one makes a key', async ({ tools, store }) => {
  const primary = await primaryOf(store);
  const [one, other] = [rotationSteps(tools), rotationSteps(tools)];
  await one.generate(primary);
  await rejectsWithCode(() => other.generate(primary), 'ERR_KMS_KEYSET_CONFLICT');
  assert.is((await store.readManifest())!.manifest.keys.length, 2);
});

test('no key is made after another rotation has promoted its own', async ({ tools, store }) => {
  const primary = await primaryOf(store);
  await rotationSteps(tools).generate(primary);
  const { manifest } = (await store.readManifest())!;
  const keys = manifest.keys.map((key) => ({ ...key, state: 'promoted' as const }));
  store.replaceManifest(formatManifest({ ...manifest, primary: keys[1]!.id, keys }));
  await rejectsWithCode(() => rotationSteps(tools).generate(primary), 'ERR_KMS_KEYSET_CONFLICT');
});

test('the evidence is checked again when the key is promoted', async ({ tools, store }) => {
  const steps = rotationSteps(tools);
  await steps.generate(await primaryOf(store));
  const { keys } = (await store.readManifest())!.manifest;
  await rejectsWithCode(() => steps.promote(keys[1]!.id), 'ERR_KMS_KEYSET_RULE');
  const { proofs } = await store.load({ signal: AbortSignal.timeout(10_000) });
  const proven = rotationSteps({ ...tools, proofs: () => Promise.resolve(proofs) });
  const error = await rejectsWithCode(() => proven.promote(keys[1]!.id), 'ERR_KMS_KEYSET_RULE');
  assert.match(error.message, '0 of 2 replicas have reported');
});

test('the evidence is checked again when a key is retired', async ({ tools, store }) => {
  const { manifest } = (await store.readManifest())!;
  const [key] = manifest.keys;
  const keys = [key!, { ...key!, id: 'fresh' }];
  store.replaceManifest(formatManifest({ ...manifest, primary: 'fresh', keys }));
  const scan = scanOf([rowOf('fresh'), rowOf(key!.id)]);
  const error = await rejectsWithCode(() => rotationSteps(tools).retire(key!.id, scan), 'ERR_KMS_KEYSET_RULE');
  assert.match(error.message, `the scan: key ${key!.id} is needed by 3 secrets`);
  await rotationSteps(tools).retire(key!.id, scanOf([rowOf('fresh')]));
  assert.is((await store.readManifest())!.manifest.keys[0]!.state, 'retired');
});

test('a rewrite says what it did, and what it could not do', async ({ tools, kubernetes, told }) => {
  kubernetes.fault = ({ path }) => (path.endsWith('/s-1') ? status(422, 'invalid since an upgrade') : undefined);
  await rotationSteps(tools).rewrite(['secrets', 'widgets.gone.example.com']);
  assert.equal(told, [
    'secrets: 2 written, 0 needed no write, 0 are gone, 1 failed',
    '/api/v1/namespaces/ns-1/secrets/s-1: HTTP status 422 invalid since an upgrade',
    'widgets.gone.example.com: the API does not serve it, so that nothing can rewrite these objects; delete them from etcd',
  ]);
});

test('an API that is away ends the rewrite', async ({ tools, kubernetes }) => {
  kubernetes.fault = () => {
    throw new KmsError('ERR_KMS_STORE_UNAVAILABLE', 'connection refused');
  };
  await kubernetes.during(
    rejectsWithCode(() => rotationSteps(tools).rewrite(['secrets']), 'ERR_KMS_STORE_UNAVAILABLE'),
  );
});

test.run();
