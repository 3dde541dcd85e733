import { randomBytes } from 'node:crypto';
import { KEY_BYTES } from '../../envelope/limits.ts';
import { KmsError, unavailable } from '../../errors.ts';
import { keysetConflict } from '../../keyset/keyset-source.ts';
import type { KeysetAdmin } from '../../keyset/keyset-source.ts';
import { blobName, formatManifest, MANIFEST_NAME, parseManifest } from '../../keyset/manifest.ts';
import type { KeyLocation, Manifest } from '../../keyset/manifest.ts';
import type { Lease } from '../../util/shared-resources.ts';
import type { ApiAnswer, ApiRequest, ApiServer } from './api-server.ts';
import { base64 } from './base64.ts';
import { parseSecret, parseStatus } from './protobuf.ts';
import type { SecretObject } from './protobuf.ts';
import { getSecret, pathOf, PROTOBUF, uriOf } from './secret-name.ts';
import type { SecretName } from './secret-name.ts';

/** An answer to a change does not carry the keys back. Errors come in the second form. */
const METADATA_ONLY = `${PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1, ${PROTOBUF}`;
const MERGE_PATCH = 'application/merge-patch+json';

/** A Secret as it was read, without its keys. */
interface Found {
  readonly uid: string;
  readonly resourceVersion: string;
  readonly manifest: Manifest | undefined;
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
  readonly #made = new Map<string, Buffer>();

  constructor(secret: SecretName, lease: Lease<ApiServer>) {
    this.#secret = secret;
    this.#lease = lease;
  }

  async destination(): Promise<string> {
    return (await this.#lease.resource.credentials()).description;
  }

  async readManifest(): Promise<{ manifest: Manifest; revision: string } | undefined> {
    const found = await this.#read();
    return found?.manifest && { manifest: found.manifest, revision: revisionOf(found) };
  }

  /** The key is stored with the manifest that names it. */
  createKey(keyId: string): Promise<KeyLocation> {
    this.#made.set(keyId, randomBytes(KEY_BYTES));
    return Promise.resolve({});
  }

  async writeManifest(manifest: Manifest, revision: string | undefined): Promise<void> {
    try {
      const found = await this.#read();
      if ((found?.manifest && revisionOf(found)) !== revision) throw keysetConflict();
      for (const { id, state } of manifest.keys) {
        if (state === 'retired' || this.#made.has(id) || found?.names.has(blobName(id))) continue;
        throw new KmsError('ERR_KMS_KEYSET_INVALID', `${uriOf(this.#secret)} has no ${blobName(id)}`);
      }
      const answer = await this.#send(found ? this.#change(manifest, found) : this.#creation(manifest));
      // The Secret was deleted, created or changed meanwhile.
      if (answer.status === 404 || answer.status === 409) throw keysetConflict();
      this.#expectSuccess(answer);
    } finally {
      this.close();
    }
  }

  async destroyKey(keyId: string): Promise<void> {
    const bytes = Buffer.from(JSON.stringify({ data: { [blobName(keyId)]: null } }));
    const answer = await this.#send({ method: 'PATCH', path: pathOf(this.#secret), type: MERGE_PATCH, bytes });
    if (answer.status !== 404) this.#expectSuccess(answer);
  }

  /** Wipes keys that were made but not stored. */
  close(): void {
    for (const key of this.#made.values()) key.fill(0);
    this.#made.clear();
  }

  async #read(): Promise<Found | undefined> {
    const answer = await this.#lease.resource.request(getSecret(this.#secret));
    if (answer.status === 404) return undefined;
    this.#expectSuccess(answer);
    const secret = parseSecret(answer.body, this.#secret);
    try {
      const { uid, resourceVersion, data } = secret;
      return { uid, resourceVersion, manifest: this.#manifestOf(secret), names: new Set(data.keys()) };
    } finally {
      secret.wipe();
    }
  }

  #manifestOf({ data }: SecretObject): Manifest | undefined {
    const text = data.get(MANIFEST_NAME)?.toString('utf8');
    return text === undefined ? undefined : parseManifest(text, `${uriOf(this.#secret)} ${MANIFEST_NAME}`);
  }

  #creation(manifest: Manifest) {
    const { namespace, name } = this.#secret;
    const head = `"apiVersion":"v1","kind":"Secret","type":"Opaque","metadata":{"name":"${name}"}`;
    const path = `/api/v1/namespaces/${namespace}/secrets`;
    return { method: 'POST', path, type: 'application/json', bytes: this.#body(head, manifest, []) } as const;
  }

  /** The same request removes keys that the manifest no longer names. */
  #change(manifest: Manifest, { uid, resourceVersion, manifest: before }: Found) {
    const head = `"metadata":${JSON.stringify({ uid, resourceVersion })}`;
    const kept = new Set(manifest.keys.map(({ id }) => id));
    const dropped = (before?.keys ?? []).map(({ id }) => id).filter((id) => !kept.has(id));
    const bytes = this.#body(head, manifest, dropped);
    return { method: 'PATCH', path: pathOf(this.#secret), type: MERGE_PATCH, bytes } as const;
  }

  /** JSON as bytes, because a string with keys in it cannot be wiped. */
  #body(head: string, manifest: Manifest, dropped: readonly string[]): Buffer {
    const keys = [...this.#made].filter(([id]) => manifest.keys.some((entry) => entry.id === id));
    const values: [name: string, value: Buffer][] = [
      [MANIFEST_NAME, base64(Buffer.from(formatManifest(manifest)))],
      ...keys.map(([id, key]): [string, Buffer] => [blobName(id), base64(key)]),
    ];
    const quoted = values.flatMap(([name, value], index) => [
      Buffer.from(`${index === 0 ? '' : ','}"${name}":"`),
      value,
      Buffer.from('"'),
    ]);
    const nulls = dropped.map((id) => `,"${blobName(id)}":null`).join('');
    const body = Buffer.concat([Buffer.from(`{${head},"data":{`), ...quoted, Buffer.from(`${nulls}}}`)]);
    for (const [, value] of values) value.fill(0);
    return body;
  }

  async #send(request: Pick<ApiRequest, 'method' | 'path'> & { type: string; bytes: Buffer }): Promise<ApiAnswer> {
    const { method, path, type, bytes } = request;
    try {
      const body = { type, bytes };
      return await this.#lease.resource.request({ method, path, accept: METADATA_ONLY, body });
    } finally {
      bytes.fill(0);
    }
  }

  #expectSuccess({ status, body, credentials }: ApiAnswer): void {
    if (status >= 200 && status < 300) return;
    const reason = parseStatus(body)?.message ?? `it answers with HTTP status ${status}`;
    throw unavailable(`${uriOf(this.#secret)} at ${credentials.server.href}: ${reason}`);
  }
}

const revisionOf = ({ uid, resourceVersion }: Found): string => `${uid}/${resourceVersion}`;
