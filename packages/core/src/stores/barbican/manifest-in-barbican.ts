import { KmsError } from '../../errors.ts';
import { keysetConflict } from '../../keyset/keyset-source.ts';
import { formatManifest, parseManifest } from '../../keyset/manifest.ts';
import type { Manifest } from '../../keyset/manifest.ts';
import type { KeystoneSession } from './keystone/session.ts';
import type { BarbicanClient, SecretInfo } from './client.ts';
import type { ManifestStore, StoredManifest } from './manifest-store.ts';

/** Longest payload that Barbican takes by default, in bytes: some 100 keys. */
const MAX_PAYLOAD_BYTES = 20_000;
/** Earlier revisions that are kept, for whoever wants to see what was. */
const KEPT_REVISIONS = 5;

/**
 * The manifest in Barbican itself, for sites that want no file on their nodes. Secrets cannot be changed, so each revision is a secret of
 * its own under one name; the newest one that an allowed user made counts. Others' are as if they were not there: whoever may
 * create secrets in the project could otherwise say which key is primary.
 */
export class ManifestInBarbican implements ManifestStore {
  readonly #client: BarbicanClient;
  readonly #session: KeystoneSession;
  readonly #name: string;
  readonly #creators: readonly string[] | undefined;

  /** @param creators - ids of the users whose revisions count; the one that we log in as, where it is left out */
  constructor(
    client: BarbicanClient,
    session: KeystoneSession,
    options: { name: string; creators: readonly string[] | undefined },
  ) {
    this.#client = client;
    this.#session = session;
    this.#name = `teapot-kms-keyset-${options.name}`;
    this.#creators = options.creators;
  }

  get where(): string {
    return `Barbican secret ${this.#name}`;
  }

  async read(signal: AbortSignal): Promise<StoredManifest | undefined> {
    const [newest] = await this.#revisions(signal);
    if (!newest) return undefined;
    return { manifest: await this.#manifestOf(newest.id, signal), revision: newest.id };
  }

  /** Two that write at the same time may both be told of a conflict; never do both succeed. */
  async write(manifest: Manifest, revision: string | undefined, signal: AbortSignal): Promise<void> {
    const text = Buffer.from(formatManifest(manifest));
    if (text.length > MAX_PAYLOAD_BYTES) {
      throw new KmsError('ERR_KMS_KEYSET_RULE', 'too many keys for a manifest in Barbican: destroy retired ones');
    }
    const { user } = await this.#session.token(signal);
    if (this.#creators?.includes(user.id) === false) {
      const message = `what user ${user.id} (${user.name}) writes does not count here: "creators" does not name it`;
      throw new KmsError('ERR_KMS_KEYSET_RULE', message);
    }
    if ((await this.#revisions(signal))[0]?.id !== revision) throw keysetConflict();
    const ours = await this.#client.create(this.#name, text, signal);
    const [newest, before, ...older] = await this.#revisions(signal);
    if (newest?.id !== ours || before?.id !== revision) {
      await this.#client.delete(ours, signal);
      if (newest?.id !== revision) throw keysetConflict();
      const message = "Barbican says that the new manifest is older than the last one: its hosts' clocks disagree";
      throw new KmsError('ERR_KMS_STORE_UNAVAILABLE', message);
    }
    // It is written. Old ones that stay (another user's, say) are in nobody's way.
    for (const { id } of older.slice(KEPT_REVISIONS - 1)) await this.#client.delete(id, signal).catch(() => undefined);
  }

  async #revisions(signal: AbortSignal): Promise<SecretInfo[]> {
    const creators = this.#creators ?? [(await this.#session.token(signal)).user.id];
    return (await this.#client.list(this.#name, signal)).filter(({ creator }) => creators.includes(creator));
  }

  async #manifestOf(id: string, signal: AbortSignal): Promise<Manifest> {
    try {
      return parseManifest((await this.#client.payload(id, signal)).expose().toString('utf8'), `${this.where} (${id})`);
    } catch (error) {
      // That a manifest is gone says nothing of the keys.
      if (!(error instanceof KmsError) || error.code !== 'ERR_KMS_KEY_GONE') throw error;
      throw new KmsError('ERR_KMS_STORE_UNAVAILABLE', error.message, { cause: error });
    }
  }
}
