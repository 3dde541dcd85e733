import { FakeClock, rejectsWithCode, settle } from '@teapot-kms/testing';
import { randomUUID } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { KmsError } from '../../../src/errors.ts';
import { BarbicanClient } from '../../../src/stores/barbican/client.ts';
import { examineBarbican } from '../../../src/stores/barbican/examine.ts';
import type { KeystoneSession, ServiceRequest } from '../../../src/stores/barbican/keystone/session.ts';
import { ManifestInBarbican } from '../../../src/stores/barbican/manifest-in-barbican.ts';
import { formatManifest } from '../../../src/keyset/manifest.ts';
import { manifestOf } from '../../support/manifests.ts';

const late = new KmsError('ERR_KMS_DEADLINE_EXCEEDED', 'the deadline passed');

interface FakeSecret {
  readonly secret_ref: string;
  readonly name: string;
  created: string;
  payload?: Buffer;
}

const created = (second: number): string =>
  new Date(Date.UTC(2026, 0, 1) + second * 1_000).toISOString().replace('Z', '');

/** Another one with a payload, the newest. */
const foreign = (): FakeSecret => ({
  secret_ref: `http://b/v1/secrets/${randomUUID()}`,
  name: 'teapot-kms-keyset-x',
  created: created(86_400),
  payload: Buffer.from('x'),
});

/** A Barbican in memory. Each request goes to `fault` first, and fails if its signal has been aborted. */
function cloud(
  fault: (request: ServiceRequest, before: readonly ServiceRequest[]) => void | Promise<void> = () => undefined,
) {
  const secrets: FakeSecret[] = [];
  const requests: ServiceRequest[] = [];
  let posted = 0;
  const answer = ({ method, path, body }: ServiceRequest): { status: number; body: Buffer } => {
    const said = (status: number, content: object = {}) => ({ status, body: Buffer.from(JSON.stringify(content)) });
    const index = secrets.findIndex(({ secret_ref }) => path.split('/').includes(secret_ref.split('/').at(-1)!));
    if (method === 'PUT') {
      if (index < 0) return said(404);
      secrets[index]!.payload = Buffer.from(body!);
      return said(204);
    }
    if (method === 'GET' && path.endsWith('/payload')) return { status: 200, body: secrets[index]!.payload! };
    if (method === 'GET') return said(200, { secrets: secrets.toReversed().map(listed) });
    if (method === 'POST') {
      const { name } = JSON.parse(body!.toString()) as { name: string };
      secrets.push({ secret_ref: `http://b/v1/secrets/${randomUUID()}`, name, created: created(posted++) });
      return said(201, secrets.at(-1));
    }
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
      await fault(request, requests);
      requests.push(request);
      request.signal.throwIfAborted();
      return { headers: {}, justIssued: true, place: 'http://b', token, ...answer(request) };
    },
  } as unknown as KeystoneSession;
  const clock = new FakeClock();
  const client = new BarbicanClient(session, clock);
  /** Waits before each request. */
  const behind = (gate: () => Promise<void>): ManifestInBarbican => {
    const keyManager = async (request: ServiceRequest) => gate().then(() => session.keyManager(request));
    const gated = { token: () => Promise.resolve(token), keyManager } as unknown as KeystoneSession;
    return new ManifestInBarbican(new BarbicanClient(gated, clock), gated, 'x', undefined);
  };
  const adminOf = (creators?: readonly string[]) => new ManifestInBarbican(client, session, 'x', creators);
  return { clock, secrets, session, client, behind, adminOf, admin: adminOf() };
}

const COMPLETE = { creator_id: 'u', status: 'ACTIVE', content_types: { default: 'application/octet-stream' } };
const listed = ({ payload, ...secret }: FakeSecret) => ({
  ...secret,
  ...COMPLETE,
  ...(payload ? {} : { content_types: undefined }),
});
const hasStored = (before: readonly ServiceRequest[]): boolean => before.some(({ method }) => method === 'PUT');

test('where storing a manifest fails, the outcome is unknown, it stays, and the remedy is to look', async () => {
  const { admin, secrets } = cloud(({ method }) => {
    if (method === 'PUT') throw late;
  });
  const { message, remedy } = await rejectsWithCode(
    () => admin.writeManifest(manifestOf('promoted'), undefined),
    'ERR_KMS_STORE_UNAVAILABLE',
  );
  assert.match(message, 'unknown');
  assert.match(remedy!, 'teapot-kms keys list');
  assert.is(secrets.length, 1);
});

test('where the listing after a change fails, the change is made', async () => {
  let failed = 0;
  const { admin } = cloud(({ method }, before) => {
    if (method === 'GET' && before.at(-1)?.method === 'PUT' && failed++ === 0) throw late;
  });
  await admin.writeManifest(manifestOf('promoted'), undefined);
  assert.is(failed, 1);
  assert.is((await admin.readManifest())?.manifest.primary, 'key-0');
});

test('a manifest that comes too late never gets a payload, also where it cannot be deleted', async () => {
  for (const fails of [false, true]) {
    const site = cloud(({ method }) => {
      if (method === 'POST') site.secrets.push(foreign());
      if (fails && method === 'DELETE') throw late;
    });
    const write = () => site.admin.writeManifest(manifestOf('promoted'), undefined);
    const { remedy } = await rejectsWithCode(write, 'ERR_KMS_KEYSET_CONFLICT');
    assert.match(remedy!, 'teapot-kms keys list');
    assert.is(site.secrets.filter(({ payload }) => payload).length, 1);
    assert.is(site.secrets.length, fails ? 2 : 1);
  }
});

test('a writer that died holds up others for two minutes, and they say so', async () => {
  const { admin, secrets, client } = cloud();
  const dead = await client.begin('teapot-kms-keyset-x', 100, client.deadline());
  const write = () => admin.writeManifest(manifestOf('promoted'), undefined);
  const { message, remedy } = await rejectsWithCode(write, 'ERR_KMS_KEYSET_CONFLICT');
  assert.match(message, dead);
  assert.match(remedy!, 'wait two minutes');
  secrets[0]!.created = created(-121);
  await write();
});

/** What waits for its turn. */
class Gate {
  #go: (() => void) | undefined;

  readonly pass = (): Promise<void> => new Promise((resolve) => (this.#go = resolve));

  /** Lets one request through. */
  async open(): Promise<void> {
    this.#go?.();
    this.#go = undefined;
    await settle();
  }
}

test('in each order of the requests of two writers, at most one is accepted, and what somebody has read is never taken back', async () => {
  let accepted = 0;
  // A bit says whose request is next. A writer has four at most.
  for (let order = 0; order < 2 ** 8; order++) {
    const { admin, behind } = cloud();
    await admin.writeManifest(manifestOf('promoted'), undefined);
    const { revision } = (await admin.readManifest())!;
    const read = new Set<string>();
    const gates = [new Gate(), new Gate()] as const;
    const writing = (['pending', 'retired'] as const).map((state, index) =>
      behind(gates[index]!.pass)
        .writeManifest(manifestOf('promoted', state), revision)
        .then(() => state)
        .catch((error: unknown) => assert.is((error as KmsError).code, 'ERR_KMS_KEYSET_CONFLICT')),
    );
    for (let step = 0; step < 16; step++) {
      await settle();
      await gates[step < 8 ? (order >> step) & 1 : step % 2]!.open();
      read.add((await admin.readManifest())!.text);
    }
    const won = (await Promise.all(writing)).filter((state) => typeof state === 'string');
    assert.ok(won.length <= 1, `order ${order}: both were accepted`);
    accepted += won.length;
    const { text, manifest } = (await admin.readManifest())!;
    assert.is(manifest.keys[1]?.state, won[0]);
    const base = formatManifest(manifestOf('promoted'));
    assert.equal(
      [...read].filter((one) => one !== base && one !== text),
      [],
      `order ${order}: read, and taken back`,
    );
  }
  assert.ok(accepted > 0);
});

test('a manifest that is damaged is saved and removed, and the one before it counts', async () => {
  const { admin, secrets, client } = cloud();
  await admin.writeManifest(manifestOf('promoted'), undefined);
  const text = (await admin.readManifest())!.text;
  const id = await client.create('teapot-kms-keyset-x', Buffer.from('keys: none\n'), new AbortController().signal);
  const { remedy = '' } = await rejectsWithCode(() => admin.readManifest(), 'ERR_KMS_KEYSET_INVALID');
  const [, commands] = /counts then \((.*)\)\. If that is not the newest one, restore the keyset /.exec(remedy)!;
  assert.is(commands, `openstack secret get ${id} --file damaged-manifest; openstack secret delete ${id}`);
  assert.is(secrets.find(({ secret_ref }) => secret_ref.endsWith(id))!.payload!.toString(), 'keys: none\n');
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
    if (request.method === 'POST') site.secrets.push(foreign());
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
