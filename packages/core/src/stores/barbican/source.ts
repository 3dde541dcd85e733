import { KEY_BYTES } from '../../envelope/limits.ts';
import { KmsError } from '../../errors.ts';
import { Keyset } from '../../keyset/keyset.ts';
import type { KeysetSource, LoadContext } from '../../keyset/keyset-source.ts';
import type { LegacyOpener } from '../../keyset/legacy-opener.ts';
import type { ManifestEntry } from '../../keyset/manifest.ts';
import { legacyKeyOfCloudConf, parseIni } from './keystone/cloud-conf.ts';
import { readText } from './keystone/configuration.ts';
import type { KeystoneSession } from './keystone/session.ts';
import type { Finding } from '../../finding.ts';
import type { SecretBytes } from '../../util/secret-bytes.ts';
import type { Lease } from '../../util/shared-resources.ts';
import { watchDirectory } from '../file/watch-directory.ts';
import { BarbicanAdmin } from './admin.ts';
import { BarbicanClient } from './client.ts';
import { examineBarbican } from './examine.ts';
import { checkLegacyKey, LegacyKeys } from './legacy.ts';
import { ManifestInBarbican } from './manifest-in-barbican.ts';
import { ManifestOnHost } from './manifest-store.ts';
import type { ManifestStore } from './manifest-store.ts';
import { manifestPlaceOf } from './settings.ts';
import type { BarbicanSettings } from './settings.ts';

/** Refusals that make a loss certain: one alone may be a slip of Barbican (design D3). */
const CERTAIN_AFTER = 2;

/** A keyset whose keys are Barbican secrets, each load one GET for each of them. */
export class BarbicanSource implements KeysetSource {
  readonly uri: string;
  readonly admin: BarbicanAdmin;
  /** A loaded Barbican takes some seconds for each secret. */
  readonly loadTimeoutMs = 60_000;
  readonly maxUnconfirmedMs: number;
  readonly #lease: Lease<KeystoneSession>;
  readonly #client: BarbicanClient;
  readonly #manifests: ManifestStore;
  readonly #directory: string | undefined;
  readonly #settings: BarbicanSettings;
  /** Times in a row that a secret was refused. */
  readonly #refusals = new Map<string, number>();

  /** @throws {@link KmsError} `ERR_KMS_INVALID_URI` */
  constructor(uri: string, settings: BarbicanSettings, lease: Lease<KeystoneSession>) {
    const place = manifestPlaceOf(uri);
    this.uri = `barbican:${'directory' in place ? place.directory : place.name}`;
    this.maxUnconfirmedMs = settings.maxUnconfirmed;
    this.#settings = settings;
    this.#lease = lease;
    const session = lease.resource;
    this.#client = new BarbicanClient(session);
    this.#directory = 'directory' in place ? place.directory : undefined;
    this.#manifests =
      'directory' in place
        ? new ManifestOnHost(place.directory)
        : new ManifestInBarbican(this.#client, session, { name: place.name, creators: settings.creators });
    this.admin = new BarbicanAdmin(this.#client, this.#manifests);
  }

  async load({ signal }: LoadContext): Promise<Keyset> {
    const stored = await this.#manifests.read(signal);
    if (!stored) {
      throw new KmsError(
        'ERR_KMS_STORE_UNAVAILABLE',
        `${this.#manifests.where}: no such manifest; make one with "keys generate"`,
      );
    }
    const { primary } = stored.manifest;
    return Keyset.load(
      stored.manifest,
      (keyId, entry) => this.#seenTwice(keyId, keyId === primary, () => this.#fetchKey(entry, signal)),
      () => this.#loadLegacy(signal),
    );
  }

  watch(onChange: () => void): () => void {
    return this.#directory === undefined ? () => undefined : watchDirectory(this.#directory, onChange);
  }

  examine({ signal }: LoadContext): Promise<Finding[]> {
    return examineBarbican(this.#lease.resource, this.#client, signal);
  }

  close(): Promise<void> {
    return this.#lease.release();
  }

  async #fetchKey({ id, secret }: ManifestEntry, signal: AbortSignal): Promise<SecretBytes> {
    if (secret === undefined) {
      throw new KmsError(
        'ERR_KMS_KEYSET_INVALID',
        `${this.#manifests.where}: key ${id} has no "secret", the UUID of its secret`,
      );
    }
    const key = await named(`key ${id}`, this.#client.payload(secret, signal));
    if (key.length === KEY_BYTES) return key;
    key.wipe();
    throw new KmsError(
      'ERR_KMS_KEYSET_INVALID',
      `key ${id}, secret ${secret}: expected exactly ${KEY_BYTES} raw bytes, found ${key.length}${reasonFor(key.length)}`,
    );
  }

  /**
   * A key other than the primary is left out of the keyset once it is gone for certain. For the primary, the service counts.
   * @throws what `fetch` throws, a first `ERR_KMS_KEY_GONE` as `ERR_KMS_STORE_UNAVAILABLE`
   */
  async #seenTwice<T>(keyId: string, isPrimary: boolean, fetch: () => Promise<T>): Promise<T> {
    try {
      const fetched = await fetch();
      this.#refusals.delete(keyId);
      return fetched;
    } catch (error) {
      if (!(error instanceof KmsError) || error.code !== 'ERR_KMS_KEY_GONE' || isPrimary) throw error;
      const count = (this.#refusals.get(keyId) ?? 0) + 1;
      this.#refusals.set(keyId, count);
      if (count >= CERTAIN_AFTER) throw error;
      throw new KmsError('ERR_KMS_STORE_UNAVAILABLE', error.message, { cause: error });
    }
  }

  async #loadLegacy(signal: AbortSignal): Promise<LegacyOpener | undefined> {
    const { cloudConfig, legacyKeys } = this.#settings;
    const ofCloudConf =
      cloudConfig === undefined ? undefined : legacyKeyOfCloudConf(parseIni(await readText(cloudConfig), cloudConfig));
    const ids = new Set([...legacyKeys, ...(ofCloudConf === undefined ? [] : [ofCloudConf])]);
    if (ids.size === 0) return undefined;
    const keys = new Map<string, SecretBytes>();
    const warnings: string[] = [];
    try {
      for (const id of ids) {
        const fetch = async () =>
          checkLegacyKey(id, await named('legacy key', this.#client.payload(id.toLowerCase(), signal)));
        await this.#seenTwice(`legacy ${id}`, false, fetch).then(
          (key) => keys.set(id, key),
          (error: unknown) => {
            // One that is lost must not keep the others, and the keyset, from being used.
            if (!(error instanceof KmsError) || !LOST.has(error.code)) throw error;
            warnings.push(`${error.code}: ${error.message}`);
          },
        );
      }
    } catch (error) {
      for (const key of keys.values()) key.wipe();
      throw error;
    }
    return new LegacyKeys(keys, warnings);
  }
}

const LOST = new Set(['ERR_KMS_KEY_GONE', 'ERR_KMS_KEYSET_INVALID']);

/** Puts the key's name in front of what is said of its secret; what is said of the cloud is not about one key. */
async function named<T>(what: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof KmsError) || !LOST.has(error.code)) throw error;
    throw new KmsError(error.code, `${what}, ${error.message}`, { cause: error.cause });
  }
}

function reasonFor(length: number): string {
  if (length === 44 || length === 45) {
    return '; it is probably base64 that was uploaded as text: upload the bytes themselves (--payload-content-type application/octet-stream --payload-content-encoding base64)';
  }
  if (length === 64 || length === 65) return '; it is probably hexadecimal that was uploaded as text';
  return '';
}
