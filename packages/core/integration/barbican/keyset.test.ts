import { patient, skipWithoutOpenStack, TestCloud } from '@teapot-kms/testing/daemons';
import { rejectsWithCode } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { generateKey, promoteKey } from '../../src/keyset/administration.ts';
import { suiteWithManifestInBarbican, suiteWithManifestOnHost } from './support/suite.ts';

skipWithoutOpenStack();
const cloud = await TestCloud.start({ tokenCache: 300 });
test.after.each(() => cloud.heal());
test.after(() => cloud.stop());

suiteWithManifestOnHost(test, 'barbican (simple_crypto), manifest on the host', () => cloud);
suiteWithManifestInBarbican(test, 'barbican (simple_crypto), manifest in Barbican', () => cloud);

const newName = () => `m${randomBytes(6).toString('hex')}`;

test('only manifests of allowed users count in Barbican', async () => {
  const name = newName();
  const owner = cloud.open(`barbican:${name}`);
  const { keyId } = await generateKey(owner.admin!);
  // Another user of the project with the role creator plants a newer one.
  const { admin, state } = cloud.openStack;
  await admin.call('PUT', `/projects/${state.projects.kms}/users/${state.users.other}/roles/${state.roles.creator}`);
  const planter = cloud.open(`barbican:${name}`, { cloudConfig: cloud.cloudConf(cloud.password('other')) });
  await generateKey(planter.admin!);
  const keyset = await owner.load(patient());
  assert.is(keyset.primary.keyId, keyId);
  keyset.destroy();
  const both = cloud.open(`barbican:${name}`, { creators: [state.users.kms, state.users.other] });
  const seen = await both.load(patient());
  assert.is.not(seen.primary.keyId, keyId, 'allowed by a setting, it counts');
  seen.destroy();
  await Promise.all([owner, planter, both].map((source) => source.close!()));
});

test('a user whose manifests do not count gets an error, and writes none', async () => {
  const name = newName();
  const source = cloud.open(`barbican:${name}`, { creators: [cloud.openStack.state.users.other] });
  const { message } = await rejectsWithCode(() => generateKey(source.admin!), 'ERR_KMS_KEYSET_RULE');
  assert.match(message, cloud.openStack.state.users.kms);
  assert.equal(await cloud.client.list(`teapot-kms-keyset-${name}`, patient().signal), []);
  await source.close!();
});

test('a manifest whose writer died before it had stored the bytes is as if it were not there', async () => {
  const name = newName();
  const source = cloud.open(`barbican:${name}`);
  const { keyId } = await generateKey(source.admin!);
  cloud.barbican.fault = ({ method }) => (method === 'PUT' || method === 'DELETE' ? 'reset' : undefined);
  await rejectsWithCode(
    () => cloud.client.create(`teapot-kms-keyset-${name}`, Buffer.from('x'), patient().signal),
    'ERR_KMS_STORE_UNAVAILABLE',
  );
  cloud.heal();
  const keyset = await source.load(patient());
  assert.is(keyset.primary.keyId, keyId);
  keyset.destroy();
  await generateKey(source.admin!);
  await source.close!();
});

test('old manifests that may not be deleted do not make a change fail that was made', async () => {
  const name = newName();
  const source = cloud.open(`barbican:${name}`);
  let refused = 0;
  cloud.barbican.fault = ({ method }) => {
    if (method !== 'DELETE') return undefined;
    refused++;
    return { status: 403 };
  };
  const keyIds: string[] = [];
  for (let change = 0; change < 8; change++) keyIds.push((await generateKey(source.admin!)).keyId);
  assert.ok(refused > 0);
  cloud.heal();
  const keyset = await source.load(patient());
  assert.equal(keyset.manifest.keys.map(({ id }) => id).sort(), keyIds.sort());
  keyset.destroy();
  await source.close!();
});

test("where the clocks of Barbican's hosts disagree, a manifest that would not be the newest is taken back", async () => {
  const name = newName();
  const source = cloud.open(`barbican:${name}`);
  const { keyId } = await generateKey(source.admin!);
  const next = await generateKey(source.admin!);
  const promote = () => promoteKey(source.admin!, next.keyId);
  const known = (await cloud.client.list(`teapot-kms-keyset-${name}`, patient().signal)).map(({ id }) => id);
  // A host that is years behind makes the next one.
  const behind = (body: Buffer) => {
    const { secrets } = JSON.parse(body.toString()) as { secrets: { secret_ref: string; created: string }[] };
    for (const one of secrets) {
      if (!known.some((id) => one.secret_ref.endsWith(id))) one.created = '2001-01-01T00:00:00.000000';
    }
    return Buffer.from(JSON.stringify({ secrets }));
  };
  cloud.barbican.fault = ({ path }) => (path.includes('sort=') ? { change: behind } : undefined);
  const { message } = await rejectsWithCode(promote, 'ERR_KMS_STORE_UNAVAILABLE');
  assert.match(message, 'clocks disagree');
  cloud.heal();
  const keyset = await source.load(patient());
  assert.is(keyset.primary.keyId, keyId);
  keyset.destroy();
  await promote();
  await source.close!();
});

test.run();
