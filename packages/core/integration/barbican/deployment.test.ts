/** What `k8s/barbican` deploys, with its own configuration and tool: two clusters that share it. */
import { BarbicanDeployment, patient, skipWithoutDeployment } from '@teapot-kms/testing/daemons';
import { rejectsWithCode } from '@teapot-kms/testing';
import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { generateKey } from '../../src/keyset/administration.ts';
import { administrator, clientOf, openTenant } from './support/tenant-access.ts';

skipWithoutDeployment();
const deployment = await BarbicanDeployment.start({ workers: 1 });
test.after(() => deployment.stop());
const instance = await deployment.tool('tenant', 'a');
await deployment.tool('tenant', 'b', '--secrets', '3');

test('a second run of every step changes nothing', async () => {
  const files = ['a', 'b'].flatMap((name) => [deployment.conf(name, 'node'), deployment.conf(name, 'operator')]);
  const read = () => files.map((file) => readFileSync(file, 'utf8'));
  const before = read();
  await deployment.tool('services');
  assert.is(await deployment.tool('tenant', 'a'), instance);
  assert.equal(read(), before);
});

test('the operator of a cluster makes a keyset, and the credential of its nodes reads it', async () => {
  const operator = openTenant(deployment, 'a', 'operator');
  const { keyId } = await generateKey(operator.admin!);
  const node = openTenant(deployment, 'a', 'node');
  const keyset = await node.load(patient());
  assert.is(keyset.primary.keyId, keyId);
  await Promise.all([operator.close!(), node.close!()]);
});

test('the credential of nodes can neither write nor delete', async () => {
  const operator = clientOf(deployment, 'a', 'operator');
  const id = await operator.create('of-a', Buffer.alloc(32, 1), patient().signal);
  const node = clientOf(deployment, 'a', 'node');
  await rejectsWithCode(() => node.create('x', Buffer.alloc(32), patient().signal), 'ERR_KMS_STORE_UNAVAILABLE');
  await rejectsWithCode(() => node.delete(id, patient().signal), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.is((await node.payload(id, patient().signal)).expose().length, 32);
});

test("a cluster's credentials read nothing of another cluster, and do not see it", async () => {
  const id = await clientOf(deployment, 'a', 'operator').create('secret-of-a', Buffer.alloc(32, 2), patient().signal);
  for (const kind of ['node', 'operator'] as const) {
    const other = clientOf(deployment, 'b', kind);
    await rejectsWithCode(() => other.payload(id, patient().signal), 'ERR_KMS_KEY_GONE');
    assert.equal(await other.list('secret-of-a', patient().signal), []);
  }
  await rejectsWithCode(
    () => clientOf(deployment, 'b', 'operator').delete(id, patient().signal),
    'ERR_KMS_STORE_UNAVAILABLE',
  );
  assert.is((await clientOf(deployment, 'a', 'node').payload(id, patient().signal)).expose().length, 32);
});

test('a cluster can use no more than its quota', async () => {
  const operator = clientOf(deployment, 'b', 'operator');
  for (let made = 0; made < 3; made++) await operator.create('one', Buffer.alloc(32), patient().signal);
  await rejectsWithCode(() => operator.create('one', Buffer.alloc(32), patient().signal), 'ERR_KMS_STORE_UNAVAILABLE');
});

test('without a queue, an order is done in the request that makes it', async () => {
  const session = administrator(deployment);
  const call = async (method: 'GET' | 'POST', path: string, body?: object) => {
    const json = body && { headers: { 'content-type': 'application/json' }, body: Buffer.from(JSON.stringify(body)) };
    const answer = await session.keyManager({ method, path, ...json, signal: patient().signal });
    return { status: answer.status, body: JSON.parse(String(answer.body)) as Record<string, string> };
  };
  const meta = { name: 'ordered', algorithm: 'aes', bit_length: 256, mode: 'gcm' };
  const { status, body } = await call('POST', '/orders', { type: 'key', meta });
  assert.is(status, 202);
  const order = await call('GET', `/orders/${body['order_ref']!.split('/').at(-1)!}`);
  assert.is(order.body['status'], 'ACTIVE');
  const secret = order.body['secret_ref']!.split('/').at(-1)!;
  const octets = { accept: 'application/octet-stream' };
  const request = { method: 'GET', path: `/secrets/${secret}/payload`, headers: octets } as const;
  assert.is((await session.keyManager({ ...request, signal: patient().signal })).body.length, 32);
});

test.run();
