import { KmsError, unavailable } from '../../errors.ts';
import { newKey } from '../../keyset/blob.ts';
import { keysetConflict } from '../../keyset/keyset-source.ts';
import type { KeysetAdmin, ManifestRevision } from '../../keyset/keyset-source.ts';
import { blobName, MANIFEST_NAME, parseManifest, writableManifest } from '../../keyset/manifest.ts';
import type { KeyTraits, Manifest, StoredManifest } from '../../keyset/manifest.ts';
import type { SecretBytes } from '../../util/secret-bytes.ts';
import type { Lease } from '../../util/shared-resources.ts';
import type { ApiAnswer, ApiServer } from './api-server.ts';
import { parseSecret, parseStatus } from './protobuf.ts';
import type { SecretObject } from './protobuf.ts';
import { blobOf } from './secret-blob.ts';
import { getSecret, pathOf, PROTOBUF, uriOf } from './secret-name.ts';
import type { SecretName } from './secret-name.ts';

const DIGITS = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/');
const PADDING = '='.charCodeAt(0);

/** An answer to a change does not carry the keys back. Errors come in the second form. */
const METADATA_ONLY = `${PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1, ${PROTOBUF}`;

/** A Secret as it was read, without its keys. */
interface Found {
  readonly metadata: Pick<SecretObject, 'uid' | 'resourceVersion'>;
  readonly manifest: { readonly manifest: StoredManifest; readonly text: string } | undefined;
  readonly names: ReadonlySet<string>;
}

/**
 * Manages the keys in a Secret. Keys and manifest are in one object, so each change is one request. The API server refuses
 * it if the Secret has changed since it was read (its resourceVersion).
 */
export class SecretAdmin implements KeysetAdmin {
  readonly #secret: SecretName;
  readonly #lease: Lease<ApiServer>;
  /** Keys that no manifest names yet. */
  readonly #made = new Map<string, SecretBytes>();

  constructor(secret: SecretName, lease: Lease<ApiServer>) {
    this.#secret = secret;
    this.#lease = lease;
  }

  async destination(): Promise<string> {
    return (await this.#lease.resource.credentials()).description;
  }

  async readManifest(): Promise<ManifestRevision | undefined> {
    const found = await this.#read();
    return found?.manifest && { ...found.manifest, revision: revisionOf(found) };
  }

  async orphans(): Promise<readonly string[]> {
    const names = [...((await this.#read())?.names ?? [])];
    return names.filter((name) => name.endsWith('.key')).map((name) => `${name} of ${uriOf(this.#secret)}`);
  }

  /** The key is stored with the manifest that names it. */
  createKey(keyId: string, contextId: Buffer, given?: SecretBytes): Promise<KeyTraits> {
    const { key, traits } = newKey(keyId, contextId, given);
    this.#made.set(keyId, key);
    return Promise.resolve(traits);
  }

  async writeManifest(manifest: Manifest, revision: string | undefined): Promise<void> {
    try {
      const found = await this.#read();
      if ((found?.manifest && revisionOf(found)) !== revision) throw keysetConflict();
      for (const { id, state } of manifest.keys) {
        if (state === 'retired' || this.#made.has(id) || found?.names.has(blobName(id))) continue;
        throw new KmsError('ERR_KMS_KEYSET_INVALID', `${uriOf(this.#secret)} has no ${blobName(id)}`);
      }
      const answer = await this.#send(manifest, found);
      // The Secret was deleted, created or changed meanwhile.
      if (answer.status === 404 || answer.status === 409) throw keysetConflict();
      this.#expectSuccess(answer);
    } finally {
      this.close();
    }
  }

  /** The manifest that no longer names the key has taken it away, in the same request. */
  destroyKey(): Promise<void> {
    return Promise.resolve();
  }

  async readKey(keyId: string): Promise<SecretBytes> {
    const secret = await this.#fetch();
    try {
      return blobOf(secret?.data ?? new Map(), keyId, this.#secret);
    } finally {
      secret?.wipe();
    }
  }

  /** Wipes keys that were made but not stored. */
  close(): void {
    for (const key of this.#made.values()) key.wipe();
    this.#made.clear();
  }

  async #fetch(): Promise<SecretObject | undefined> {
    const answer = await this.#lease.resource.request(getSecret(this.#secret));
    if (answer.status === 404) return undefined;
    this.#expectSuccess(answer);
    return parseSecret(answer.body, this.#secret);
  }

  async #read(): Promise<Found | undefined> {
    const secret = await this.#fetch();
    if (!secret) return undefined;
    const { uid, resourceVersion, data } = secret;
    try {
      const text = data.get(MANIFEST_NAME)?.toString('utf8');
      const where = `${uriOf(this.#secret)} ${MANIFEST_NAME}`;
      const manifest = text === undefined ? undefined : { manifest: parseManifest(text, where), text };
      return { metadata: { uid, resourceVersion }, manifest, names: new Set(data.keys()) };
    } finally {
      secret.wipe();
    }
  }

  async #send(manifest: Manifest, found: Found | undefined): Promise<ApiAnswer> {
    const { namespace, name } = this.#secret;
    const created = { apiVersion: 'v1', kind: 'Secret', type: 'Opaque', metadata: { name } };
    const [method, path, type, head] = found
      ? (['PATCH', pathOf(this.#secret), 'application/merge-patch+json', { metadata: found.metadata }] as const)
      : (['POST', `/api/v1/namespaces/${namespace}/secrets`, 'application/json', created] as const);
    const bytes = this.#body(head, manifest, found?.manifest?.manifest);
    try {
      return await this.#lease.resource.request({ method, path, accept: METADATA_ONLY, body: { type, bytes } });
    } finally {
      bytes.fill(0);
    }
  }

  /** JSON as bytes, because a string with keys in it cannot be wiped. Removes the keys that `manifest` destroys. */
  #body(head: object, manifest: Manifest, before: StoredManifest | undefined): Buffer {
    const ids = new Set(manifest.keys.map(({ id }) => id));
    const others: Record<string, string | null> = {
      [MANIFEST_NAME]: Buffer.from(writableManifest(manifest)).toString('base64'),
    };
    for (const id of destroyedIds(manifest, before)) others[blobName(id)] = null;
    const keys = [...this.#made]
      .filter(([id]) => ids.has(id))
      .flatMap(([id, key]) => [Buffer.from(`"${blobName(id)}":"`), base64(key.expose()), Buffer.from('",')]);
    const [start, end] = [JSON.stringify(head).slice(0, -1), JSON.stringify(others).slice(1)];
    const body = Buffer.concat([Buffer.from(`${start},"data":{`), ...keys, Buffer.from(`${end}}`)]);
    for (const part of keys) part.fill(0);
    return body;
  }

  #expectSuccess({ status, body, credentials }: ApiAnswer): void {
    if (status >= 200 && status < 300) return;
    const reason = parseStatus(body)?.message ?? `it answers with HTTP status ${status}`;
    throw unavailable(`${uriOf(this.#secret)} at ${credentials.server.href}: ${reason}`);
  }
}

/**
 * The keys that a change has destroyed: they were retired, and its manifest follows directly. One from elsewhere, such as a backup's, may not
 * know of a key that data needs.
 */
function destroyedIds(manifest: Manifest, before: StoredManifest | undefined): string[] {
  if (!before || (manifest.formatVersion === 2 && manifest.replaces !== before.hash)) return [];
  const listed = new Set(manifest.keys.map(({ id }) => id));
  return before.keys.filter(({ id, state }) => state === 'retired' && !listed.has(id)).map(({ id }) => id);
}

const revisionOf = ({ metadata: { uid, resourceVersion } }: Found): string => `${uid}/${resourceVersion}`;

/** Encodes in base64 (RFC 4648) as bytes. Node's own encoder makes strings, which cannot be wiped. */
export function base64(bytes: Buffer): Buffer {
  const out = Buffer.alloc(4 * Math.ceil(bytes.length / 3), PADDING);
  for (let from = 0, to = 0; from < bytes.length; from += 3, to += 4) {
    const [a = 0, b, c] = bytes.subarray(from, from + 3);
    out[to] = DIGITS[a >> 2]!;
    out[to + 1] = DIGITS[((a & 3) << 4) | ((b ?? 0) >> 4)]!;
    if (b !== undefined) out[to + 2] = DIGITS[((b & 15) << 2) | ((c ?? 0) >> 6)]!;
    if (c !== undefined) out[to + 3] = DIGITS[c & 63]!;
  }
  return out;
}
