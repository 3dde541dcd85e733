import { KmsError, unavailable } from '../../errors.ts';
import { keysetConflict } from '../../keyset/keyset-source.ts';
import { parseManifest, writableManifest } from '../../keyset/manifest.ts';
import { RESTORE_KEYSET } from '../../keyset/restoring.ts';
import type { Manifest } from '../../keyset/manifest.ts';
import type { ManifestRevision } from '../../keyset/keyset-source.ts';
import type { ManifestStore } from './admin.ts';
import type { BarbicanClient, SecretInfo } from './client.ts';
import type { KeystoneSession } from './keystone/session.ts';

/** Longest payload that Barbican takes by default, in bytes: enough for about 100 keys. */
const MAX_PAYLOAD_BYTES = 20_000;
/** Older revisions that are kept, for people who want to see what changed. */
const KEPT_REVISIONS = 5;
/** ms after which a revision without a payload is that of a writer that died. A change ends after one minute. */
const ABANDONED_MS = 2 * 60_000;

/**
 * The manifest is in Barbican itself, for sites that want no file on their nodes. Secrets cannot be changed, so each revision is a secret
 * of its own, all with one name. The newest revision that an allowed user created is the manifest. Revisions of others are ignored:
 * otherwise anybody who may create secrets in the project could choose the primary.
 */
export class ManifestInBarbican implements ManifestStore {
  /** For people. */
  readonly where: string;
  readonly #client: BarbicanClient;
  readonly #session: KeystoneSession;
  readonly #name: string;
  readonly #creators: readonly string[] | undefined;

  /** @param creators - ids of the allowed users; by default, the user that the plugin logs in as */
  constructor(client: BarbicanClient, session: KeystoneSession, name: string, creators: readonly string[] | undefined) {
    this.#client = client;
    this.#session = session;
    this.#name = `teapot-kms-keyset-${name}`;
    this.#creators = creators;
    this.where = `Barbican secret ${this.#name}`;
  }

  async readManifest(signal = this.#client.deadline()): Promise<ManifestRevision | undefined> {
    const [newest] = (await this.#revisions(signal)).filter(({ complete }) => complete);
    if (!newest) return undefined;
    try {
      const text = (await this.#client.payload(newest.id, signal)).expose().toString('utf8');
      return { manifest: parseManifest(text, `${this.where} (${newest.id})`), revision: newest.id, text };
    } catch (error) {
      if (!(error instanceof KmsError)) throw error;
      if (error.code === 'ERR_KMS_KEYSET_INVALID') throw damaged(error, newest.id);
      // The loss of a manifest says nothing about the keys.
      if (error.code !== 'ERR_KMS_KEY_GONE') throw error;
      throw unavailable(error.message, { remedy: error.remedy, cause: error });
    }
  }

  /** Of two writers at the same time, one or none succeeds (ADR 0010). */
  async writeManifest(manifest: Manifest, revision: string | undefined): Promise<void> {
    const signal = this.#client.deadline();
    const text = Buffer.from(writableManifest(manifest));
    if (text.length > MAX_PAYLOAD_BYTES) {
      const message = `the manifest has ${text.length} bytes, and Barbican stores at most ${MAX_PAYLOAD_BYTES}`;
      throw new KmsError('ERR_KMS_KEYSET_RULE', message, { remedy: 'destroy retired keys' });
    }
    const { user } = await this.#session.token(signal);
    if (this.#creators?.includes(user.id) === false) {
      const message = `"creators" does not list user ${user.id} (${user.name}), so a manifest of this user would be ignored`;
      const remedy = 'add the user to creators, or log in as a listed user';
      throw new KmsError('ERR_KMS_KEYSET_RULE', message, { remedy });
    }
    // Each writer makes its revision before it looks for others, so of two writers at least one sees the other. No reader takes a revision
    // without a payload, so none that somebody has read is taken back.
    const ours = await this.#client.begin(this.#name, text.length, signal);
    try {
      checkNext(await this.#revisions(signal), ours, revision);
    } catch (error) {
      // What cannot be deleted has no payload, and is ignored.
      await this.#client.delete(ours).catch(() => undefined);
      throw error;
    }
    await this.#client.store(ours, text, signal).catch(outcomeUnknown);
    const [, , ...older] = await this.#revisions(signal).catch(() => []);
    // The change is made. Old revisions that cannot be deleted do no harm.
    for (const { id } of older.slice(KEPT_REVISIONS - 1)) await this.#client.delete(id, signal).catch(() => undefined);
  }

  async #revisions(signal: AbortSignal): Promise<SecretInfo[]> {
    const creators = this.#creators ?? [(await this.#session.token(signal)).user.id];
    return (await this.#client.list(this.#name, signal)).filter(({ creator }) => creators.includes(creator));
  }
}

/**
 * Checks that a new revision would follow the one that its writer has read.
 * @param revisions - the newest first, also those without a payload
 * @throws {@link KmsError} `ERR_KMS_KEYSET_CONFLICT`; `ERR_KMS_STORE_UNAVAILABLE` where the clocks of Barbican's hosts disagree
 */
function checkNext(revisions: readonly SecretInfo[], ours: string, revision: string | undefined): void {
  const own = revisions.find(({ id }) => id === ours);
  const others = revisions.filter(({ id }) => id !== ours);
  const newest = others.find(({ complete }) => complete);
  if (!own || newest?.id !== revision) throw keysetConflict();
  const pending = others.find(({ complete, created }) => !complete && own.created - created < ABANDONED_MS);
  if (pending) {
    const message = `another process is changing the keyset, or was killed while it did (secret ${pending.id})`;
    const remedy = 'wait two minutes, run "teapot-kms keys list", and try again if the change is still wanted';
    throw new KmsError('ERR_KMS_KEYSET_CONFLICT', message, { remedy });
  }
  if (newest === undefined || own.created > newest.created) return;
  throw unavailable("Barbican dates the new manifest before the last one: its hosts' clocks disagree", {
    remedy: "synchronize the clocks of Barbican's hosts, and try again",
  });
}

/** Nothing in Barbican can be moved. Without the newest revision, the one before it counts. @param id - of the newest revision */
function damaged({ code, message }: KmsError, id: string): KmsError {
  const commands = `openstack secret get ${id} --file damaged-manifest; openstack secret delete ${id}`;
  const remedy = `save the damaged manifest in a file, and remove it from Barbican: the one before it counts then (${commands}). If that is not the newest one, ${RESTORE_KEYSET}`;
  return new KmsError(code, message, { remedy });
}

/** For a manifest that was sent, and whose storing failed: it may count. */
function outcomeUnknown(cause: unknown): never {
  const { message } = KmsError.from(cause, 'ERR_KMS_STORE_UNAVAILABLE');
  throw unavailable(`the new manifest was sent, but whether the change is made is unknown: ${message}`, {
    cause,
    remedy: 'look with "teapot-kms keys list" before you try again',
  });
}
