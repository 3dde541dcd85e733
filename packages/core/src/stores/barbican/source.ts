import * as nodeFs from 'node:fs/promises';
import { join } from 'node:path';
import type { Finding } from '../../finding.ts';
import { KmsError, unavailable } from '../../errors.ts';
import { Keyset } from '../../keyset/keyset.ts';
import type { KeysetSource, LoadContext } from '../../keyset/keyset-source.ts';
import { MANIFEST_NAME } from '../../keyset/manifest.ts';
import type { ManifestEntry, StoredManifest } from '../../keyset/manifest.ts';
import { RESTORE_KEYSET } from '../../keyset/restoring.ts';
import type { Clock } from '../../util/clock.ts';
import type { SecretBytes } from '../../util/secret-bytes.ts';
import { uriOfDirectory } from '../../util/directory-uri.ts';
import type { Lease } from '../../util/shared-resources.ts';
import { ManifestDirectory } from '../file/manifest-directory.ts';
import { watchDirectory } from '../file/watch-directory.ts';
import { BarbicanAdmin } from './admin.ts';
import { BarbicanClient } from './client.ts';
import { examineBarbican } from './examine.ts';
import { readKeyOf } from './key-secret.ts';
import { legacyKeyOfCloudConf, parseIni } from './keystone/cloud-conf.ts';
import { MAX_CLOUD_CONF_BYTES, readText } from './keystone/configuration.ts';
import type { KeystoneSession } from './keystone/session.ts';
import { loadLegacyKeys, RESTORE_LEGACY } from './legacy.ts';
import type { LegacyKeys } from './legacy.ts';
import { ManifestInBarbican } from './manifest-in-barbican.ts';
import type { BarbicanSettings, ManifestPlace } from './settings.ts';

/** A loss is certain after this many refusals in a row: a single one may be a slip of Barbican (design D3). */
const CERTAIN_AFTER = 2;

/** A keyset whose keys are Barbican secrets. Each load reads each of them. */
export class BarbicanSource implements KeysetSource {
  readonly uri: string;
  readonly admin: BarbicanAdmin;
  /** A loaded Barbican takes some seconds for each secret. */
  readonly loadTimeoutMs = 60_000;
  readonly maxUnconfirmedMs: number;
  readonly #lease: Lease<KeystoneSession>;
  readonly #clock: Clock;
  readonly #client: BarbicanClient;
  readonly #place: ManifestPlace;
  /** The place of the manifest, for people. */
  readonly #where: string;
  readonly #settings: BarbicanSettings;
  /** Refusals in a row, by key. */
  readonly #refusals = new Map<string, number>();

  constructor(place: ManifestPlace, settings: BarbicanSettings, lease: Lease<KeystoneSession>, clock: Clock) {
    this.uri = 'directory' in place ? uriOfDirectory('barbican', place.directory) : `barbican:${place.name}`;
    this.maxUnconfirmedMs = settings.maxUnconfirmed;
    this.#place = place;
    this.#settings = settings;
    this.#lease = lease;
    this.#clock = clock;
    const session = lease.resource;
    this.#client = new BarbicanClient(session, clock);
    if ('directory' in place) {
      this.#where = join(place.directory, MANIFEST_NAME);
      this.admin = new BarbicanAdmin(this.#client, new ManifestDirectory(place.directory, nodeFs, clock));
    } else {
      const manifests = new ManifestInBarbican(this.#client, session, place.name, settings.creators);
      this.#where = manifests.where;
      this.admin = new BarbicanAdmin(this.#client, manifests);
    }
  }

  async load(context: LoadContext): Promise<Keyset> {
    const { signal } = context;
    const stored = await this.admin.readManifest(signal);
    if (!stored) {
      throw unavailable(`${this.#where}: no such manifest`, { remedy: RESTORE_KEYSET });
    }
    const { primary } = stored.manifest;
    return Keyset.load(
      context,
      stored.manifest,
      (keyId, entry) => {
        const fetch = () => readKeyOf(this.#client, keyId, entry.secret, signal);
        // The service counts the refusals of the primary.
        return keyId === primary ? fetch() : this.#refusedTwice(keyId, fetch);
      },
      () => this.#loadLegacyKeys(signal),
    );
  }

  async confirm(manifest: StoredManifest, signal: AbortSignal): Promise<void> {
    const fetch = (keyId: string, { secret }: ManifestEntry) => readKeyOf(this.#client, keyId, secret, signal);
    const keyset = await Keyset.load({ signal }, manifest, fetch);
    keyset.destroy();
    // As in a load: another key that is lost takes nothing away.
    const lost = keyset.problems.get(manifest.primary);
    if (lost) throw lost;
  }

  watch(onChange: () => void): () => void {
    return 'directory' in this.#place ? watchDirectory(this.#place.directory, onChange, this.#clock) : () => undefined;
  }

  examine({ signal }: LoadContext): Promise<Finding[]> {
    return examineBarbican(this.#lease.resource, this.#client, signal);
  }

  close(): Promise<void> {
    return this.#lease.release();
  }

  /** @throws what `fetch` throws, but the first `ERR_KMS_KEY_GONE` of a key as `ERR_KMS_STORE_UNAVAILABLE` */
  async #refusedTwice(key: string, fetch: () => Promise<SecretBytes>): Promise<SecretBytes> {
    try {
      const fetched = await fetch();
      this.#refusals.delete(key);
      return fetched;
    } catch (error) {
      if (!(error instanceof KmsError) || error.code !== 'ERR_KMS_KEY_GONE') throw error;
      const count = (this.#refusals.get(key) ?? 0) + 1;
      this.#refusals.set(key, count);
      if (count >= CERTAIN_AFTER) throw error;
      throw unavailable(error.message, { remedy: error.remedy, cause: error });
    }
  }

  async #loadLegacyKeys(signal: AbortSignal): Promise<LegacyKeys | undefined> {
    const { cloudConfig, legacyKeys } = this.#settings;
    const ids = new Set(legacyKeys);
    if (cloudConfig !== undefined) {
      const id = legacyKeyOfCloudConf(parseIni(await readText(cloudConfig, MAX_CLOUD_CONF_BYTES), cloudConfig));
      if (id !== undefined) ids.add(id);
    }
    return loadLegacyKeys(ids, (id) =>
      this.#refusedTwice(`legacy ${id}`, () => this.#client.payload(id, signal, 'legacy key', RESTORE_LEGACY)),
    );
  }
}
