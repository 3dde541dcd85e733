// Two nodes, each with a TPM of its own: what docs/hsm-and-tpm.md §6 says of their keys.
import { Tpm } from '@teapot-kms/testing/daemons';
import { rejectsWithCode, until, version1Manifest } from '@teapot-kms/testing';
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import { newKeyId } from '../../src/envelope/key-id.ts';
import { formatManifest } from '../../src/keyset/manifest.ts';
import { LocalKekService } from '../../src/service/local-kek/local-kek-service.ts';
import { seal } from './support/rig.ts';
import { newDirectory, newKek, openKek, patient, use } from './support/tokens.ts';
import type { KekOptions } from './support/tokens.ts';

const newKey = () => generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;

/** One node: its TPM, its copy of keyset.yaml, and the plugin there. */
class Node {
  readonly tpm: Tpm;
  readonly directory = newDirectory();

  private constructor(tpm: Tpm) {
    this.tpm = tpm;
  }

  static async start(): Promise<Node> {
    return new Node(await Tpm.start(newDirectory()));
  }

  options(label: string): KekOptions {
    const settings = { sessions: 1, callTimeout: '10s' };
    return { token: this.tpm, directory: join(this.directory, label), label, settings };
  }

  /** The token host takes over what the environment is when its process begins, which is here. */
  async serve(label: string): Promise<LocalKekService> {
    use(this.tpm);
    const service = new LocalKekService({ remote: openKek(this.options(label)) });
    service.start();
    await until('the TPM answers', async () => (await service.status()).healthz === 'ok');
    return service;
  }
}

/** A `keyset.yaml` by hand, the same on all nodes. */
function writeManifest(keyId: string, label: string, nodes: readonly Node[]): void {
  const manifest = formatManifest(version1Manifest(keyId));
  for (const { directory } of nodes) {
    mkdirSync(join(directory, label, 'keyset'), { recursive: true });
    writeFileSync(join(directory, label, 'keyset/keyset.yaml'), manifest);
  }
}

const missing = Tpm.missing();
if (missing !== undefined) console.log(`SKIPPED two nodes with a TPM each: ${missing}`);
else {
  const nodes = [await Node.start(), await Node.start()] as const;
  const [first, second] = nodes;
  test.after(async () => {
    for (const { tpm } of nodes) await tpm.stop();
  });

  test('one key that was imported into both opens on each what the other has sealed', async () => {
    const [id, privateKey] = ['ceremony-2026', newKey()];
    for (const { tpm } of nodes) await tpm.importRsaKey({ id, label: 'shared', privateKey });
    writeManifest(id, 'shared', nodes);
    const services = [await first.serve('shared'), await second.serve('shared')] as const;
    for (const [from, to] of [services, services.toReversed()] as const) {
      const sealed = await seal(from);
      assert.equal(sealed.keyId, id);
      assert.deepEqual(await to.decrypt(sealed, patient()), sealed.plaintext);
      assert.equal(to.describe().counters['unwraps'], 1, 'it had to ask its own TPM');
    }
    await Promise.all(services.map((service) => service.close()));

    use(first.tpm);
    const kek = openKek(first.options('shared'));
    const remarks = (await kek.examine(patient())).map(({ text }) => text).join('\n');
    assert.match(remarks, new RegExp(`key ${id}, the primary: rsa-oaep-sha256, `));
    assert.match(remarks, new RegExp(`key ${id}: CKA_EXTRACTABLE is true`));
    await kek.close();
  });

  test('a key that one TPM has made is not in the other, which says so instead of sealing', async () => {
    use(first.tpm);
    const kek = await newKek(first.options('own'));
    await kek.close();
    cpSync(join(first.directory, 'own/keyset'), join(second.directory, 'own/keyset'), { recursive: true });
    use(second.tpm);
    const replica = openKek(second.options('own'));
    const { damaged } = await replica.describe(patient());
    assert.deepEqual([damaged?.error.code, damaged?.primary], ['ERR_KMS_KEY_GONE', true]);
    assert.match(damaged!.error.message, /is not in the token/);
    await replica.close();
  });

  test('two keys under one id are no copy: what one node has sealed is refused on the other', async () => {
    const id = newKeyId();
    for (const { tpm } of nodes) await tpm.importRsaKey({ id, label: 'mixed-up', privateKey: newKey() });
    writeManifest(id, 'mixed-up', nodes);
    const services = [await first.serve('mixed-up'), await second.serve('mixed-up')] as const;
    const sealed = await seal(services[0]);
    await rejectsWithCode(() => services[1].decrypt(sealed, patient()), 'ERR_KMS_UNWRAP_FAILED');
    await Promise.all(services.map((service) => service.close()));
  });
}

test.run();
