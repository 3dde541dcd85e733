import { patient } from '@teapot-kms/testing/daemons';
import type { TestCloud } from '@teapot-kms/testing/daemons';
import { keysetSourceSuite } from '@teapot-kms/testing';
import type { TestFunction } from '@teapot-kms/testing';
import { randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { formatManifest, parseManifest } from '../../../src/keyset/manifest.ts';
import type { StoredManifest } from '../../../src/keyset/manifest.ts';

/** The shared suite over a manifest on the host. */
export function suiteWithManifestOnHost(test: TestFunction, name: string, cloud: () => TestCloud): void {
  keysetSourceSuite(test, name, () => {
    const directory = cloud().newPath('keyset');
    const manifest = join(directory, 'keyset.yaml');
    // Made here, so that a watch has something to watch.
    mkdirSync(directory, { mode: 0o700 });
    const open = () => cloud().open(`barbican:${directory}`, { cloudConfig: cloud().sharedConf }, cloud().shared);
    const client = cloud().client;
    const source = open();
    const opened = [source];
    const entryOf = (keyId: string) => {
      const { keys } = parseManifest(readFileSync(manifest, 'utf8'), manifest);
      const { secret } = keys.find(({ id }) => id === keyId) ?? {};
      if (secret === undefined) throw new Error(`${keyId} names no secret`);
      return secret;
    };
    return Promise.resolve({
      source,
      reopen() {
        const another = open();
        opened.push(another);
        return another;
      },
      replaceManifest: (text) => writeFile(manifest, text),
      async putBlob(keyId, bytes) {
        // Secrets cannot be changed: the entry names another one.
        const secret =
          bytes.length === 0 ? await withoutPayload(cloud()) : await client.create('put', bytes, patient().signal);
        const current = parseManifest(readFileSync(manifest, 'utf8'), manifest);
        const keys = current.keys.map((key) => (key.id === keyId ? { ...key, secret } : key));
        writeFileSync(manifest, formatManifest(successorOf(current, keys)));
      },
      removeBlob: (keyId) => client.delete(entryOf(keyId), patient().signal),
      removedIs: 'ERR_KMS_KEY_GONE',
      readBlob: async (keyId) => (await client.payload(entryOf(keyId), patient().signal)).expose(),
      async close() {
        for (const one of opened) await one.close?.();
      },
    });
  });
}

/** The shared suite over a manifest in Barbican. */
export function suiteWithManifestInBarbican(test: TestFunction, name: string, cloud: () => TestCloud): void {
  keysetSourceSuite(test, name, () => {
    const uri = `barbican:${randomUUID()}`;
    const secretName = `teapot-kms-keyset-${uri.slice('barbican:'.length)}`;
    const open = () => cloud().open(uri, { cloudConfig: cloud().sharedConf }, cloud().shared);
    const client = cloud().client;
    const source = open();
    const opened = [source];
    const entryOf = async (keyId: string) => {
      const { manifest } = (await source.admin!.readManifest())!;
      const { secret } = manifest.keys.find(({ id }) => id === keyId) ?? {};
      if (secret === undefined) throw new Error(`${keyId} names no secret`);
      return secret;
    };
    const put = async (text: string) => {
      if (text === '') return;
      await client.create(secretName, Buffer.from(text), patient().signal);
    };
    return Promise.resolve({
      source,
      reopen() {
        const another = open();
        opened.push(another);
        return another;
      },
      // Nothing cannot be stored; what stands for it is a blank.
      replaceManifest: (text) => put(text === '' ? ' ' : text),
      async putBlob(keyId, bytes) {
        const { manifest } = (await source.admin!.readManifest())!;
        const secret =
          bytes.length === 0 ? await withoutPayload(cloud()) : await client.create('put', bytes, patient().signal);
        await put(
          formatManifest(
            successorOf(
              manifest,
              manifest.keys.map((key) => (key.id === keyId ? { ...key, secret } : key)),
            ),
          ),
        );
      },
      removeBlob: async (keyId) => client.delete(await entryOf(keyId), patient().signal),
      removedIs: 'ERR_KMS_KEY_GONE',
      readBlob: async (keyId) => (await client.payload(await entryOf(keyId), patient().signal)).expose(),
      withoutHints: true,
      async close() {
        for (const one of opened) await one.close?.();
      },
    });
  });
}

async function withoutPayload({ openStack }: TestCloud): Promise<string> {
  const token = await openStack.admin.token('kms', openStack.state.passwords.kms, 'kms');
  const made = (await openStack.admin.barbican(token, 'POST', '/secrets', { name: 'empty' })) as { secret_ref: string };
  return made.secret_ref.split('/').at(-1)!;
}

/** The manifest after a change by hand that respects the format. */
function successorOf(manifest: StoredManifest, keys: StoredManifest['keys']): StoredManifest {
  return { ...manifest, generation: manifest.generation + 1, replaces: manifest.hash, keys };
}
