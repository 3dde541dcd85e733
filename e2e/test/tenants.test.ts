// A management cluster whose Secrets hold the keysets of two tenants, and one plugin process that serves both tenants'
// kube-apiservers.
import { figure, fullRun, timed, until } from '@teapot-kms/testing';
import { authorityHashes } from '@teapot-kms/core';
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { findBinaries, kubernetesVersions, registerUnlessMissing } from '../src/binaries.ts';
import { rewriteAll, secret, SECRETS } from '../src/objects.ts';
import { parseStored } from '../src/stored-object.ts';
import { teapot } from '../src/teapot-cli.ts';
import { KEYSETS, Tenants, uriOf } from '../src/tenants.ts';
import type { Tenant } from '../src/tenants.ts';

const [kubernetes = ''] = kubernetesVersions();
const test = suite(`tenants on Kubernetes ${kubernetes}`);
let site: Tenants | undefined;
let failed = false;

/** uvu swallows the error of a hook; so each test makes sure of the site itself. */
function scenario(title: string, run: (site: Tenants) => Promise<void>): void {
  test(title, async () => {
    try {
      site ??= await Tenants.start(`tenants-${kubernetes}`, kubernetes, twinKeysets);
      await run(site);
    } catch (error) {
      failed = true;
      throw error;
    }
  });
}
test.after(() => site?.close(failed));

/** Two keysets with the same key under the same id, which only their context ids tell apart. */
async function twinKeysets({ management }: Tenants): Promise<void> {
  await teapot(['keys', 'generate', '--uri', uriOf('tenant-a')]);
  const { client } = management.apiserver;
  const { data = {} } = await client.get(`${KEYSETS}/tenant-a`);
  const manifest = Buffer.from(data['keyset.yaml']!, 'base64').toString();
  // Without a check value, which binds the context id.
  const other = manifest
    .replace(/contextId: ["']?[0-9a-f]{32}["']?/, `contextId: '${'5'.repeat(32)}'`)
    .replace(/\n +check: .*/, '');
  assert.is.not(other, manifest);
  await client.create(KEYSETS, {
    metadata: { name: 'tenant-b' },
    data: { ...data, 'keyset.yaml': Buffer.from(other).toString('base64') },
  });
}

async function primaryOf({ uri }: Tenant): Promise<string> {
  return (JSON.parse(await teapot(['keys', 'list', '--uri', uri, '--output', 'json'])) as { primary: string }).primary;
}

async function storedKeyId({ management }: Tenants, { etcdPrefix }: Tenant, name: string): Promise<string> {
  const stored = parseStored((await management.etcd.get(`${etcdPrefix}/secrets/default/${name}`))!);
  return stored.version === 'v2' ? stored.keyId : 'v1';
}

/** Writes and reads a Secret of each tenant, new and old. */
async function tenantsWork({ tenants }: Tenants, name: string): Promise<void> {
  for (const { apiserver } of tenants) {
    const object = secret(name);
    await apiserver.client.create(SECRETS, object);
    assert.equal((await apiserver.client.get(`${SECRETS}/${name}`)).data, object.data);
  }
}

registerUnlessMissing(`tenants on Kubernetes ${kubernetes}`, () => {
  findBinaries(kubernetes);
  registerAll();
});

function registerAll(): void {
  scenario(
    "each tenant's Secrets are encrypted under the key in its own Secret of the management cluster",
    async (site) => {
      await tenantsWork(site, 'first');
      for (const tenant of site.tenants) assert.is(await storedKeyId(site, tenant, 'first'), await primaryOf(tenant));
    },
  );

  scenario('what is copied in etcd from one tenant to another does not open there', async (site) => {
    const [from, to] = site.tenants;
    const { etcd } = site.management;
    const key = (tenant: Tenant, name: string): string => `${tenant.etcdPrefix}/secrets/default/${name}`;
    assert.is(await primaryOf(from), await primaryOf(to), 'the same key id');
    const theirs = (await etcd.get(key(from, 'first')))!;
    // Under the name of the other tenant's provider, so that it is this tenant's instance that is asked.
    const text = theirs.toString('latin1').replace(':teapot-tenant-a:', ':teapot-tenant-b:');
    await etcd.put(key(to, 'copied'), Buffer.from(text, 'latin1'));
    const refused = async (): Promise<number> =>
      (await site.metrics()).sum('teapot_kms_requests_total', { instance: 'tenant-b', code: 'INVALID_ARGUMENT' });
    await until('it is refused', async () => {
      await to.apiserver.client.get(`${SECRETS}/copied`).then(
        () => assert.unreachable('it was opened'),
        (error: unknown) => assert.match((error as Error).message, /500|failed to decrypt/),
      );
      return (await refused()) > 0;
    });
    await etcd.delete(key(to, 'copied'));
    await to.apiserver.client.list(SECRETS);
    const all = await site.metrics();
    assert.is(all.sum('teapot_kms_requests_total', { instance: 'tenant-a', code: 'INVALID_ARGUMENT' }), 0);
  });

  scenario("a key switch in the management cluster reaches both tenants' key_id, and then their data", async (site) => {
    const before = await Promise.all(site.tenants.map(primaryOf));
    const switched = await Promise.all(
      site.tenants.map(async ({ uri }) => {
        const { generated } = JSON.parse(await teapot(['keys', 'generate', '--uri', uri, '--output', 'json'])) as {
          generated: string;
        };
        await teapot(['keys', 'promote', '--uri', uri, generated, '--unverified']);
        return generated;
      }),
    );
    assert.is.not(switched[0], switched[1]);
    const announced = await timed(() =>
      until('both announce their new key', async () => {
        const seen = await Promise.all(site.tenants.map(({ name }) => site.status(name)));
        return seen.every(({ keyId }, index) => keyId === switched[index]);
      }),
    );
    figure('seconds from a key switch in two Secrets to both tenants key_id', announced.toFixed(2));
    const follow = async (tenant: Tenant, index: number): Promise<void> => {
      const { client } = tenant.apiserver;
      await until(
        `${tenant.name} writes under its new key`,
        async () => {
          await tenant.apiserver.kmsHealth();
          await client.patch(`${SECRETS}/first`, { data: { at: Buffer.from(String(Date.now())).toString('base64') } });
          return (await storedKeyId(site, tenant, 'first')) === switched[index];
        },
        { everyMs: 500 },
      );
      await rewriteAll(client, SECRETS);
    };
    figure(
      'seconds until both tenants write under it',
      (await timed(() => Promise.all(site.tenants.map(follow)))).toFixed(1),
    );
    assert.is.not(before[0], switched[0]);
  });

  scenario(
    'an instance that serves the management cluster itself is refused its Secrets; the others go on',
    async (site) => {
      const { apiserver } = site.management;
      site.configureTenants({
        ...site.instance('tenant-a', authorityHashes(apiserver.authority).at(-1)!),
        name: 'self',
        socket: `${site.management.directory}/run/self/kms.sock`,
      });
      const said = await until('it says why', async () => {
        const { healthz } = await site.status('self');
        return healthz.includes('encrypted by itself') && healthz;
      });
      figure('what Status says of a Secret of the served cluster', said);
      const doctor = await teapot(['doctor', '--config', site.configFile, '--output', 'json']).catch(
        (error: unknown) => {
          return ((error as Error).cause as { stdout: string }).stdout;
        },
      );
      const findings = JSON.parse(doctor) as { level: string; about: string; text: string }[];
      const problems = findings.filter(({ level }) => level === 'problem');
      assert.ok(
        problems.length > 0 && problems.every(({ about }) => about.startsWith('self,')),
        JSON.stringify(problems),
      );
      assert.match(problems[0]!.text, 'encrypted by itself');
      await tenantsWork(site, 'beside-the-refused');
      site.configureTenants();
      await until('it is removed', async () => (await site.status('self')).healthz.includes('No connection'));
    },
  );

  scenario(
    'the management API is away: tenants go on, their plugin says why after the grace, and all recovers',
    async (site) => {
      await site.management.apiserver.stop();
      await until('Status says why', async () => {
        const [a, b] = await Promise.all(site.tenants.map(({ name }) => site.status(name)));
        return [a, b].every((status) => status!.keyId !== '' && /ECONNREFUSED/.test(status!.healthz));
      });
      await tenantsWork(site, 'management-away');
      if (fullRun) await stayAway(site);
      const started = performance.now();
      await site.management.apiserver.start();
      await until('all is well', () => isWell(site));
      figure(
        'seconds until all is well after the management API is started',
        ((performance.now() - started) / 1000).toFixed(1),
      );
    },
  );

  scenario(
    'a plugin that restarts while the management API is away says so, and has its keys when it is back',
    async (site) => {
      await site.management.apiserver.stop();
      await site.restartPlugin();
      const { healthz, keyId } = await site.status('tenant-a');
      assert.match(healthz, /No key is loaded: .*ECONNREFUSED/);
      assert.is(keyId, '');
      // Seeds that a kube-apiserver has opened stay with it, for reads and, for three minutes, for writes.
      await tenantsWork(site, 'plugin-without-keys');
      await site.management.apiserver.start();
      await until('all is well', () => isWell(site));
      for (const { apiserver } of site.tenants) await apiserver.untilKmsHealthy(true);
      await tenantsWork(site, 'plugin-has-its-keys-back');
    },
  );

  scenario('no log holds a key', async (site) => {
    const keys = await site.keys();
    assert.ok(keys.length >= 4 && site.logs.length === 4);
    for (const log of site.logs) {
      const text = readFileSync(log);
      for (const key of keys) {
        for (const shown of [key, key.toString('hex'), key.toString('base64').slice(0, -1)]) {
          assert.not.ok(text.includes(shown), `${basename(log)} holds a key`);
        }
      }
    }
  });
  test.run();
}

async function isWell(site: Tenants): Promise<boolean> {
  const seen = await Promise.all(site.tenants.map(({ name }) => site.status(name)));
  return seen.every(({ healthz }) => healthz === 'ok');
}

/** Longer than kube-apiserver uses a key without a confirmation (3 minutes), and than its longest poll (1 minute). */
async function stayAway(site: Tenants): Promise<void> {
  for (let minute = 1; minute <= 5; minute++) {
    await sleep(60_000);
    await tenantsWork(site, `management-away-${minute}`);
  }
}
