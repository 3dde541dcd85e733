// The requests that change a Secret. What a real API server makes of them is in e2e/test/k8s-secret.test.ts.
import { FakeApiServer, rejectsWithCode, secretObject, statusObject } from '@teapot-kms/testing';
import fc from 'fast-check';
import type { IncomingHttpHeaders } from 'node:http2';
import { json as bodyOf } from 'node:stream/consumers';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { destroyRetiredKey, generateKey, promoteKey, retireKey } from '../../../src/keyset/administration.ts';
import type { KeysetAdmin, KeysetSource } from '../../../src/keyset/keyset-source.ts';
import { k8sSecretProvider } from '../../../src/stores/k8s-secret/index.ts';
import { base64 } from '../../../src/stores/k8s-secret/secret-admin.ts';
import { SharedResources } from '../../../src/util/shared-resources.ts';

interface Change {
  readonly metadata: Record<string, string>;
  readonly data: Record<string, string | null>;
}

interface Site {
  server: FakeApiServer;
  source: KeysetSource;
  admin: KeysetAdmin;
  /** The Secret's data. `undefined`: it is not there. */
  data: Map<string, Buffer> | undefined;
  changes: { readonly headers: IncomingHttpHeaders; readonly body: Change }[];
  /** The status of the next change. */
  status: number;
}

const test = suite<Site>('secret admin');

test.before.each(async (site) => {
  Object.assign(site, { data: undefined, changes: [], status: 200 });
  site.server = await FakeApiServer.start((stream, headers) => {
    const reply = (status: number, body: Buffer): void => {
      stream.respond({ ':status': status });
      stream.end(body);
    };
    if (headers[':method'] === 'GET') {
      if (!site.data) return reply(404, statusObject('NotFound', 'no'));
      return reply(200, secretObject({ name: 's', data: Object.fromEntries(site.data) }));
    }
    void bodyOf(stream).then((body) => {
      const change = body as Change;
      site.changes.push({ headers, body: change });
      site.data ??= new Map();
      for (const [name, value] of Object.entries(change.data)) {
        if (value === null) site.data.delete(name);
        else site.data.set(name, Buffer.from(value, 'base64'));
      }
      reply(site.status, site.status < 300 ? Buffer.alloc(0) : statusObject('Conflict', 'no'));
    });
  });
  const { kubeconfig } = site.server;
  site.source = k8sSecretProvider.open('k8s-secret:ns/s', { kubeconfig, serves: 'unchecked' }, new SharedResources());
  site.admin = site.source.admin!;
});
test.after.each(async ({ source, server }) => {
  await source.close?.();
  server.close();
});

test('the first key creates the Secret, with 32 bytes beside the manifest', async ({
  admin,
  changes,
  server,
  data,
}) => {
  assert.is(data, undefined);
  const { keyId } = await generateKey(admin);
  const [{ headers, body }] = changes as [Site['changes'][number]];
  assert.equal([headers[':method'], headers[':path']], ['POST', '/api/v1/namespaces/ns/secrets']);
  assert.equal(body.metadata, { name: 's' });
  assert.equal(Object.keys(body.data).toSorted(), [`${keyId}.key`, 'keyset.yaml'].toSorted());
  assert.is(Buffer.from(body.data[`${keyId}.key`]!, 'base64').length, 32);
  assert.match(headers.accept!, 'as=PartialObjectMetadata');
  // Look, look for keys without a manifest, look again, write.
  assert.is(server.requests.length, 4);
});

test('a change names the Secret as it was read, and a key that is destroyed leaves with its manifest', async (site) => {
  const first = await generateKey(site.admin);
  const second = await generateKey(site.admin);
  await promoteKey(site.admin, second.keyId);
  await retireKey(site.admin, first.keyId);
  await destroyRetiredKey(site.admin, first.keyId, { graceMs: 0 });
  const { headers, body } = site.changes.at(-1)!;
  assert.equal([headers[':method'], headers[':path']], ['PATCH', '/api/v1/namespaces/ns/secrets/s']);
  assert.is(headers['content-type'], 'application/merge-patch+json');
  assert.equal(body.metadata, { uid: 'uid-1', resourceVersion: '42' });
  assert.is(body.data[`${first.keyId}.key`], null);
  assert.equal([...site.data!.keys()].toSorted(), [`${second.keyId}.key`, 'keyset.yaml'].toSorted());
  assert.is(site.changes.length, 5, 'one request for each change');
});

test('a manifest that does not follow the one in the Secret takes no key away, in whatever state', async (site) => {
  const first = await generateKey(site.admin);
  const second = await generateKey(site.admin);
  await promoteKey(site.admin, second.keyId);
  const third = await generateKey(site.admin);
  await retireKey(site.admin, third.keyId);
  const { manifest, revision } = (await site.admin.readManifest())!;
  const keys = manifest.keys.filter(({ id }) => id === first.keyId);
  const foreign = { ...manifest, generation: 9, replaces: '00'.repeat(32), primary: first.keyId, keys };
  await site.admin.writeManifest(foreign, revision);
  assert.equal(Object.keys(site.changes.at(-1)!.body.data), ['keyset.yaml']);
  assert.equal(
    [...site.data!.keys()].toSorted(),
    [...[first, second, third].map(({ keyId }) => `${keyId}.key`), 'keyset.yaml'].toSorted(),
  );
});

for (const [status, code] of [
  [409, 'ERR_KMS_KEYSET_CONFLICT'],
  [404, 'ERR_KMS_KEYSET_CONFLICT'],
  [500, 'ERR_KMS_STORE_UNAVAILABLE'],
] as const) {
  test(`a change that is answered with ${status}: ${code}`, async (site) => {
    site.status = status;
    await rejectsWithCode(() => generateKey(site.admin), code);
  });
}

test('bytes become the same base64 that Node makes of them', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      assert.is(base64(Buffer.from(bytes)).toString(), Buffer.from(bytes).toString('base64'));
    }),
  );
});

test('a Secret with keys and no manifest gets no new keyset', async (site) => {
  site.data = new Map([['lost.key', Buffer.alloc(32)]]);
  const error = await rejectsWithCode(() => generateKey(site.admin), 'ERR_KMS_KEYSET_RULE');
  assert.match(error.message, 'lost.key of k8s-secret:');
  assert.equal(site.changes, []);
});

test.run();
