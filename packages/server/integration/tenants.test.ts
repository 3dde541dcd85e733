// Many tenants in one process: what is wrong with one changes nothing in the answers of the others.
import { formatManifest } from '@teapot-kms/core/internal';
import { FakeApiServer, secretObject, version1Manifest } from '@teapot-kms/testing';
import { freePort } from '@teapot-kms/testing/daemons';
import { copyFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { KmsClient } from '../src/client/client.ts';
import { grpcCode, seed } from './support/calls.ts';
import { eventually, TestSite, withClient } from './support/running-plugin.ts';

const test = suite<{ site: TestSite }>('tenants');
test.before.each((context) => {
  context.site = new TestSite();
});
test.after.each(async ({ site }) => site.remove());

const INVALID_ARGUMENT = 3;
const RESOURCE_EXHAUSTED = 8;
const UNAVAILABLE = 14;

/**
 * A tenant calls its instance until `enough`. Each answer must be right, and come within kube-apiserver's 3 s.
 * @returns how many calls there were, and the ms that the slowest took
 */
async function answersOf(
  socket: string,
  keyId: string,
  enough: (calls: number) => boolean,
): Promise<{ calls: number; worst: number }> {
  await eventually(() => withClient(socket, (client) => client.status()));
  return withClient(socket, async (client) => {
    let [calls, worst] = [0, 0];
    while (!enough(calls)) {
      const started = performance.now();
      const plaintext = seed();
      assert.equal(await client.status(), { version: 'v2', healthz: 'ok', keyId });
      const sealed = await client.encrypt(plaintext, 'tenant');
      assert.is(sealed.keyId, keyId);
      assert.equal(await client.decrypt(sealed.ciphertext, keyId, 'tenant'), plaintext);
      worst = Math.max(worst, (performance.now() - started) / 3);
      calls += 3;
      await sleep(10);
    }
    return { calls, worst };
  });
}

/** An API server that takes connections and never says a word. */
async function silentServer(site: TestSite): Promise<{ server: Server; kubeconfig: string }> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  server.unref();
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const kubeconfig = site.path('silent.kubeconfig');
  const config = {
    clusters: [{ name: 'c', cluster: { server: url, 'insecure-skip-tls-verify': true } }],
    users: [{ name: 'u', user: { token: 'x' } }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x',
  };
  writeFileSync(kubeconfig, JSON.stringify(config), { mode: 0o600 });
  return { server, kubeconfig };
}

/** An API server that gives a keyset once, and never answers again. */
async function serverOfOneAnswer(): Promise<FakeApiServer> {
  const manifest = version1Manifest('key-0');
  const data = { 'keyset.yaml': Buffer.from(formatManifest(manifest)), [`${manifest.primary}.key`]: seed() };
  let answered = false;
  return FakeApiServer.start((stream, { ':path': path }) => {
    if (answered || path?.includes('watch=1')) return;
    answered = true;
    stream.respond({ ':status': 200 });
    stream.end(secretObject({ name: 'full', namespace: 'tenants', data }));
  });
}

function hanging(site: TestSite, name: string, kubeconfig: string, ...settings: string[]): string {
  const keys = `{ uri: "k8s-secret:tenants/${name}", kubeconfig: ${kubeconfig}, serves: unchecked }`;
  return site.instance(name, ...settings).replace(/keys: .*/, `keys: ${keys}`);
}

test('a tenant that floods its own socket keeps no other tenant from its answers', async ({ site }) => {
  const id = site.generate('quiet');
  site.generate('loud');
  site.writeConfig([site.instance('quiet'), site.instance('loud')]);
  await site.serve();
  let over = false;
  let flooded = 0;
  const clients = Array.from({ length: 4 }, () => new KmsClient(site.socket('loud'), 30_000));
  const flood = clients.flatMap((client) =>
    Array.from({ length: 50 }, async () => {
      while (!over) {
        await client.decrypt(Buffer.alloc(60_000), 'nonsense', 'flood').catch(() => undefined);
        flooded++;
      }
    }),
  );
  const started = performance.now();
  const enough = (calls: number): boolean => calls >= 300 && flooded > 1_000;
  const { calls, worst } = await answersOf(site.socket('quiet'), id, enough).finally(() => {
    over = true;
  });
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  await Promise.all(flood);
  for (const client of clients) client.close();
  console.log(
    `\nFIGURE a flood of ${flooded} calls in ${seconds} s: ${calls} calls of another tenant, the slowest ${worst.toFixed(0)} ms`,
  );
});

test('a tenant whose keyset is damaged leaves the others alone, before and after a restart', async ({ site }) => {
  const [good, bad] = [site.generate('good'), site.generate('bad')];
  site.writeConfig([site.instance('bad'), site.instance('good')]);
  const plugin = await site.serve();
  await eventually(() => withClient(site.socket('good'), (client) => client.status()));
  const before = await withClient(site.socket('good'), (client) => client.encrypt(seed(), 'x'));
  let damaged = false;
  const meanwhile = answersOf(site.socket('good'), good, () => damaged);
  writeFileSync(site.path('keys/bad/keyset.yaml'), 'formatVersion: 7\n');
  await plugin.logged('ERR_KMS_KEYSET_INVALID').finally(() => {
    damaged = true;
  });
  assert.ok((await meanwhile).calls > 0);
  // Its own keys go on in memory as well.
  await withClient(site.socket('bad'), async (client) => assert.is((await client.status()).keyId, bad));
  await plugin.kill('SIGTERM');
  await site.serve();
  await answersOf(site.socket('good'), good, (calls) => calls >= 60);
  await withClient(site.socket('good'), async (client) => {
    assert.is((await client.decrypt(before.ciphertext, good, 'x')).length, 32);
  });
  await withClient(site.socket('bad'), async (client) =>
    assert.is(await grpcCode(client.encrypt(seed(), 'x')), UNAVAILABLE),
  );
});

test('a tenant whose key store hangs leaves the others alone, also at the start', async ({ site }) => {
  const id = site.generate('good');
  const { server, kubeconfig } = await silentServer(site);
  const stuck = Array.from({ length: 20 }, (_, index) => hanging(site, `stuck-${index}`, kubeconfig));
  site.writeConfig([...stuck, site.instance('good')]);
  await site.serve();
  await answersOf(site.socket('good'), id, (calls) => calls >= 300);
  await withClient(site.socket('stuck-0'), async (client) => assert.is(await grpcCode(client.status()), UNAVAILABLE));
  server.close();
});

test('calls beyond the bound of an instance are refused, its Status and the others are not', async ({ site }) => {
  const id = site.generate('good');
  const server = await serverOfOneAnswer();
  try {
    site.writeConfig([hanging(site, 'full', server.kubeconfig, 'maxCallsInFlight: 5'), site.instance('good')]);
    await site.serve();
    await eventually(() => withClient(site.socket('full'), (client) => client.status()));
    await eventually(() => withClient(site.socket('good'), (client) => client.status()));
    const foreign = await withClient(site.socket('good'), (client) => client.encrypt(seed(), 'x'));
    await withClient(site.socket('full'), async (client) => {
      // Its store is asked for a key that it does not know, and hangs.
      const calls = Array.from({ length: 20 }, () => grpcCode(client.decrypt(foreign.ciphertext, id, 'x')));
      await withClient(site.socket('good'), async (other) => assert.is((await other.status()).keyId, id));
      assert.is((await client.status()).healthz, 'ok');
      const codes = await Promise.all(calls);
      assert.is(codes.filter((code) => code === RESOURCE_EXHAUSTED).length, 15, codes.join());
    });
  } finally {
    server.close();
  }
});

for (const transport of ['h2', 'grpc-js']) {
  test(`${transport}: Status is answered on a connection whose calls all wait for a key store that hangs`, async ({
    site,
  }) => {
    const id = site.generate('good');
    const server = await serverOfOneAnswer();
    try {
      const full = hanging(site, 'full', server.kubeconfig, `transport: ${transport}`);
      site.writeConfig([full, site.instance('good')]);
      const plugin = await site.serve();
      await eventually(() => withClient(site.socket('full'), (client) => client.status()));
      await eventually(() => withClient(site.socket('good'), (client) => client.status()));
      const foreign = await withClient(site.socket('good'), (client) => client.encrypt(seed(), 'x'));
      const client = new KmsClient(site.socket('full'), 60_000);
      let ended = 0;
      const calls = Array.from({ length: 1_200 }, async () => {
        const code = await grpcCode(client.decrypt(foreign.ciphertext, id, 'x'));
        if (code !== RESOURCE_EXHAUSTED) ended++;
      });
      assert.is((await client.status()).healthz, 'ok');
      assert.is(ended, 0, 'the calls wait');
      await plugin.kill('SIGKILL');
      await Promise.all(calls);
      client.close();
    } finally {
      server.close();
    }
  });
}

test("a tenant's ciphertext does not open in another's instance, though both have the same key under the same id", async ({
  site,
}) => {
  const id = site.generate('a');
  site.generate('b');
  // The same blob and id, in keysets of version 1, which has no check values, with two context ids.
  copyFileSync(site.path(`keys/a/${id}.key`), site.path(`keys/b/${id}.key`));
  const manifest = version1Manifest(id);
  writeFileSync(site.path('keys/a/keyset.yaml'), formatManifest(manifest));
  writeFileSync(site.path('keys/b/keyset.yaml'), formatManifest({ ...manifest, contextId: 'f'.repeat(32) }));
  site.writeConfig([site.instance('a'), site.instance('b')]);
  await site.serve();
  await eventually(() => withClient(site.socket('a'), (client) => client.status()));
  const sealed = await withClient(site.socket('a'), (client) => client.encrypt(seed(), 'x'));
  await eventually(() =>
    withClient(site.socket('b'), async (client) => {
      assert.is((await client.status()).keyId, id);
      assert.is(await grpcCode(client.decrypt(sealed.ciphertext, id, 'x')), INVALID_ARGUMENT);
    }),
  );
  await withClient(site.socket('a'), async (client) => {
    assert.is((await client.decrypt(sealed.ciphertext, id, 'x')).length, 32);
  });
});

test('an instance that is removed takes its metrics along', async ({ site }) => {
  for (const name of ['a', 'b']) site.generate(name);
  const port = await freePort();
  const head = `http: { port: ${port} }\n`;
  site.writeConfig([site.instance('a'), site.instance('b')], head);
  const plugin = await site.serve();
  await eventually(() => withClient(site.socket('b'), (client) => client.status()));
  const metrics = async () => (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  assert.match(await metrics(), /requests_total\{instance="b"/);
  site.writeConfig([site.instance('a')], head);
  await plugin.logged('configuration taken');
  // Within a second the same scrape is given again.
  await eventually(async () => assert.not.match(await metrics(), 'instance="b"'));
});

test.run();
