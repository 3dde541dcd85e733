/** Each key of `k8s/barbican` is changed while clusters read theirs: no read fails, and every old secret can be read. */
import { BarbicanDeployment, patient, skipWithoutDeployment } from '@teapot-kms/testing/daemons';
import { figure, until } from '@teapot-kms/testing';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { generateKey, promoteKey } from '../../src/keyset/administration.ts';
import { Reads } from './support/reads.ts';
import { clientOf, openTenant } from './support/tenant-access.ts';

skipWithoutDeployment();
const deployment = await BarbicanDeployment.start();
test.after(() => deployment.stop());
await deployment.tool('tenant', 'a');

/** Runs `change` while four readers, each with a login of its own, read a secret without a pause. */
async function underReads(name: string, change: (reads: Reads) => Promise<void>) {
  const bytes = randomBytes(32);
  const id = await clientOf(deployment, 'a', 'operator').create(name, bytes, patient().signal);
  const reads = new Reads(() => clientOf(deployment, 'a', 'node'), id, bytes);
  await reads.more();
  await change(reads);
  await reads.more();
  await reads.end();
  assert.equal(reads.failures.map(String), []);
  const again = await clientOf(deployment, 'a', 'node').payload(id, patient().signal);
  assert.ok(again.expose().equals(bytes));
  figure(name, `${reads.count} reads, none failed, the longest took ${Math.round(reads.longestMs)} ms`);
}

test('Fernet keys: tokens of before stay good until as many rotations as keys have passed', async () => {
  await underReads('fernet rotated twice', async (reads) => {
    for (let rotation = 0; rotation < 2; rotation++) {
      await deployment.tool('fernet-rotate');
      await reads.more();
    }
  });
});

test('the application credential: the file changes, plugins log in with the new one, then the old one ends', async () => {
  await underReads('credential', async (reads) => {
    const before = readFileSync(deployment.conf('a', 'node'), 'utf8');
    await deployment.tool('credential', 'a', 'node');
    assert.is.not(readFileSync(deployment.conf('a', 'node'), 'utf8'), before);
    await reads.more();
    await deployment.tool('credential', 'a', 'node', '--retire');
    await reads.more(100);
  });
});

test("Barbican's master key in a file: add, use, rewrap, drop", async () => {
  const kek = join(deployment.etc, 'barbican.conf.d/kek.conf');
  const before = readFileSync(kek, 'utf8');
  await underReads('simple_crypto master key', async (reads) => {
    for (const step of ['add', 'use', 'rewrap', 'drop']) {
      await deployment.tool('master-key', step);
      if (step !== 'rewrap') await deployment.reload('barbican');
      await reads.more();
    }
  });
  const [old] = /(?<=kek = ).*/.exec(before)!;
  assert.not.ok(readFileSync(kek, 'utf8').includes(old), 'the old key is gone');
});

test('a master key is not dropped while a project needs it', async () => {
  await deployment.tool('master-key', 'add');
  await deployment.tool('master-key', 'use');
  const refused = await deployment.tool('master-key', 'drop').then(
    () => 'dropped',
    (error: unknown) => (error as { stderr: string }).stderr,
  );
  assert.match(refused, /is not encrypted with the first key .*: run rewrap/);
  await deployment.tool('master-key', 'rewrap');
  await deployment.tool('master-key', 'drop');
  await deployment.reload('barbican');
});

test("Teapot's own key, in the keyset of the cluster", async () => {
  const operator = openTenant(deployment, 'a', 'operator');
  await generateKey(operator.admin!);
  await underReads("Teapot's key", async (reads) => {
    const { keyId } = await generateKey(operator.admin!);
    await promoteKey(operator.admin!, keyId);
    await reads.more();
    const node = openTenant(deployment, 'a', 'node');
    await until('a node has the new key', async () => (await node.load(patient())).primary.keyId === keyId);
    await node.close!();
  });
  await operator.close!();
});

test('a certificate is renewed without a restart', async () => {
  await underReads('certificate', async (reads) => {
    deployment.renewCertificate();
    await reads.more(40);
  });
});

test.run();
