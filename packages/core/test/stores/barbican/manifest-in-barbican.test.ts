import { FakeClock, rejectsWithCode } from '@teapot-kms/testing';
import { randomUUID } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { KmsError } from '../../../src/errors.ts';
import { BarbicanClient } from '../../../src/stores/barbican/client.ts';
import { examineBarbican } from '../../../src/stores/barbican/examine.ts';
import type { KeystoneSession, ServiceRequest } from '../../../src/stores/barbican/keystone/session.ts';
import { ManifestInBarbican } from '../../../src/stores/barbican/manifest-in-barbican.ts';
import { manifestOf } from '../../support/manifests.ts';

const late = new KmsError('ERR_KMS_DEADLINE_EXCEEDED', 'the deadline passed');

/** A Barbican in memory. Each request goes to `fault` first, and fails if its signal has been aborted. */
function cloud(fault: (request: ServiceRequest, before: readonly ServiceRequest[]) => void = () => undefined) {
  const secrets: { secret_ref: string; name: string; created: string }[] = [];
  const requests: ServiceRequest[] = [];
  const payloads = new Map<string, Buffer>();
  const answer = ({ method, path, body }: ServiceRequest): { status: number; body: Buffer } => {
    const said = (status: number, content: object = {}) => ({ status, body: Buffer.from(JSON.stringify(content)) });
    const [, id = ''] = /^\/secrets\/([^/?]+)/.exec(path) ?? [];
    if (method === 'PUT') {
      payloads.set(id, Buffer.from(body!));
      return said(204);
    }
    if (path.endsWith('/payload')) return { status: 200, body: Buffer.from(payloads.get(id)!) };
    if (method === 'GET') return said(200, { secrets: secrets.toReversed().map((one) => ({ ...one, ...COMPLETE })) });
    if (method === 'POST') {
      const { name } = JSON.parse(body!.toString()) as { name: string };
      const created = new Date(Date.UTC(2026, 0, 1) + secrets.length * 1_000).toISOString().replace('Z', '');
      secrets.push({ secret_ref: `http://b/v1/secrets/${randomUUID()}`, name, created });
      return said(201, secrets.at(-1));
    }
    const index = secrets.findIndex(({ secret_ref }) => path.endsWith(secret_ref.split('/').at(-1)!));
    if (index >= 0) secrets.splice(index, 1);
    return said(204);
  };
  const token = { user: { id: 'u', name: 'kms' }, roles: ['creator'], expiresAt: 1, issuedAt: 0, clockSkewMs: 0 };
  const session = {
    token: () => Promise.resolve(token),
    keyManagerUrl: () => Promise.resolve('http://b'),
    plainUrls: () => Promise.resolve([]),
    verifiesCertificates: () => Promise.resolve(true),
    keyManager: async (request: ServiceRequest) => {
      fault(request, requests);
      requests.push(request);
      request.signal.throwIfAborted();
      return Promise.resolve({ headers: {}, justIssued: true, place: 'http://b', token, ...answer(request) });
    },
  } as unknown as KeystoneSession;
  const clock = new FakeClock();
  const client = new BarbicanClient(session, clock);
  const adminOf = (creators?: readonly string[]) => new ManifestInBarbican(client, session, 'x', creators);
  return { clock, secrets, payloads, session, client, adminOf, admin: adminOf() };
}

const COMPLETE = { creator_id: 'u', status: 'ACTIVE', content_types: { default: 'application/octet-stream' } };
const hasStored = (before: readonly ServiceRequest[]): boolean => before.some(({ method }) => method === 'PUT');

test('where the listing after a change fails, the outcome is unknown, and the remedy is to look', async () => {
  const { admin, secrets } = cloud(({ method }, before) => {
    if (method === 'GET' && hasStored(before)) throw late;
  });
  const { message, remedy } = await rejectsWithCode(
    () => admin.writeManifest(manifestOf('promoted'), undefined),
    'ERR_KMS_STORE_UNAVAILABLE',
  );
  assert.match(message, 'unknown');
  assert.match(remedy!, 'teapot-kms keys list');
  assert.is(secrets.length, 1);
});

test('a manifest that comes too late is taken back, and where that fails, the outcome is unknown', async () => {
  const another = { secret_ref: `http://b/v1/secrets/${randomUUID()}`, name: 'teapot-kms-keyset-x' };
  for (const [fails, code] of [
    [false, 'ERR_KMS_KEYSET_CONFLICT'],
    [true, 'ERR_KMS_STORE_UNAVAILABLE'],
  ] as const) {
    const site = cloud(({ method }, before) => {
      if (method === 'PUT') site.secrets.push({ ...another, created: '2026-01-02T00:00:00.000000' });
      if (fails && method === 'DELETE' && hasStored(before)) throw late;
    });
    const { remedy } = await rejectsWithCode(() => site.admin.writeManifest(manifestOf('promoted'), undefined), code);
    assert.match(remedy!, 'teapot-kms keys list');
    assert.is(site.secrets.length, fails ? 2 : 1);
  }
});

test('a manifest that is damaged is saved and removed, and the one before it counts', async () => {
  const { admin, secrets, payloads, client } = cloud();
  await admin.writeManifest(manifestOf('promoted'), undefined);
  const text = (await admin.readManifest())!.text;
  const id = await client.create('teapot-kms-keyset-x', Buffer.from('keys: none\n'), new AbortController().signal);
  const { remedy = '' } = await rejectsWithCode(() => admin.readManifest(), 'ERR_KMS_KEYSET_INVALID');
  const [, commands] = /counts then \((.*)\)\. If that is not the newest one, restore the keyset /.exec(remedy)!;
  assert.is(commands, `openstack secret get ${id} --file damaged-manifest; openstack secret delete ${id}`);
  assert.is(payloads.get(id)!.toString(), 'keys: none\n');
  await client.delete(id);
  assert.is((await admin.readManifest())!.text, text);
  assert.is(secrets.length, 1);
});

test('a manifest that is too long for Barbican can be stored once retired keys are destroyed', async () => {
  const { admin } = cloud();
  const manifest = manifestOf('promoted', ...Array.from({ length: 200 }, () => 'retired' as const));
  const { remedy } = await rejectsWithCode(() => admin.writeManifest(manifest, undefined), 'ERR_KMS_KEYSET_RULE');
  assert.is(remedy, 'destroy retired keys');
  await admin.writeManifest({ ...manifest, keys: manifest.keys.slice(0, 50) }, undefined);
});

test('a user whose manifests do not count can change the keyset once "creators" lists it', async () => {
  const { adminOf, secrets } = cloud();
  const write = (...creators: string[]) => adminOf(creators).writeManifest(manifestOf('promoted'), undefined);
  const { remedy } = await rejectsWithCode(() => write('other'), 'ERR_KMS_KEYSET_RULE');
  assert.is(remedy, 'add the user to creators, or log in as a listed user');
  assert.is(secrets.length, 0);
  await write('other', 'u');
});

test('a manifest is taken back also when the time for the change is over', async () => {
  const site = cloud((request, before) => {
    if (request.method === 'PUT') {
      const name = 'teapot-kms-keyset-x';
      site.secrets.push({
        secret_ref: `http://b/v1/secrets/${randomUUID()}`,
        name,
        created: '2026-01-02T00:00:00.000000',
      });
    }
    if (request.method === 'DELETE') assert.is.not(request.signal, before[0]!.signal);
  });
  await rejectsWithCode(() => site.admin.writeManifest(manifestOf('promoted'), undefined), 'ERR_KMS_KEYSET_CONFLICT');
  assert.is(site.secrets.length, 1);
});

test('the test secret of doctor is removed, also when the time for it is over', async () => {
  const timeout = new AbortController();
  const { session, client, secrets } = cloud(({ method }, before) => {
    if (method === 'GET' && hasStored(before)) timeout.abort(late);
  });
  const findings = await examineBarbican(session, client, timeout.signal);
  assert.match(findings.at(-1)!.text, 'the deadline passed');
  assert.is(secrets.length, 0);
});

test('what is no secret in a list is passed over', async () => {
  const right = { secret_ref: `http://b/v1/secrets/${randomUUID()}`, name: 'x', created: '2026-01-01T00:00:00' };
  const creator_id = { toString: 1 };
  const list = JSON.stringify([null, 7, [], 'x', { ...right, ...COMPLETE, creator_id }, { ...right, ...COMPLETE }]);
  const session = { keyManager: () => Promise.resolve({ status: 200, body: Buffer.from(`{"secrets":${list}}`) }) };
  const client = new BarbicanClient(session as unknown as KeystoneSession, new FakeClock());
  const found = await client.list('x', client.deadline());
  assert.equal(
    found.map(({ creator }) => creator),
    ['u'],
  );
});

test.run();
