import { MAX_WRAPPED_BYTES } from '../../envelope/limits.ts';
import { KmsError } from '../../errors.ts';
import type { Finding } from '../../finding.ts';
import { newKey } from '../../keyset/blob.ts';
import type { KeyTraits } from '../../keyset/manifest.ts';
import { RESTORE_IN_TOKEN } from '../../keyset/restoring.ts';
import type { RemoteContext, RemoteKek, RemoteKekDescription } from '../../service/local-kek/remote-kek.ts';
import { unlessAborted } from '../../util/abort.ts';
import type { SecretBytes } from '../../util/secret-bytes.ts';
import type { Lease, SharedResources } from '../../util/shared-resources.ts';
import { watchDirectory } from '../file/watch-directory.ts';
import { examineToken } from './examine.ts';
import { ListedKeys } from './listed-keys.ts';
import { checkBinding, findModule } from './module.ts';
import { Pkcs11Admin } from './pkcs11-admin.ts';
import type { Pkcs11Settings } from './settings.ts';
import { allowedMechanisms, isRsa, parseWrappedForm, wrappedForm } from './token-host/mechanism-name.ts';
import type { MechanismName } from './token-host/mechanism-name.ts';
import type { KeyInfo, KeySelector } from './token-host/protocol.ts';
import { publicKeyHash, wrapWithPublicKey } from './token-host/rsa-oaep.ts';
import { TokenHost } from './token-host/token-host.ts';
import { Token } from './token.ts';
import type { Pkcs11Uri } from './uri.ts';
import { unwrapOrRefuse } from './unwrap-or-refuse.ts';
import { WrapBudget } from './wrap-budget.ts';

/** ms for making a key: an RSA pair takes a TPM a minute. */
const GENERATE_TIMEOUT_MS = 180_000;
/** ms for a look at a key that several calls wait for, with retries and a login. */
const KEY_TIMEOUT_MS = 60_000;

/** A key-encryption key that stays in an HSM or TPM. */
export class Pkcs11Kek implements RemoteKek {
  readonly uri: string;
  readonly admin: Pkcs11Admin;
  readonly #uri: Pkcs11Uri;
  readonly #settings: Pkcs11Settings;
  readonly #shared: SharedResources;
  readonly #mechanisms: readonly MechanismName[];
  readonly #keys = new Map<string, Promise<KeyInfo>>();
  readonly #budgets = new Map<string, Lease<WrapBudget>>();
  /** For each key the last process of the token host that showed it, or that ran when the key was first looked for. */
  readonly #seenIn = new Map<string, number>();
  #lease: Lease<TokenHost> | undefined;
  #token: Token | undefined;
  readonly #listed: ListedKeys;
  #closed = false;

  constructor(uri: Pkcs11Uri, settings: Pkcs11Settings, shared: SharedResources) {
    this.uri = uri.shown;
    this.#uri = uri;
    this.#settings = settings;
    this.#shared = shared;
    this.#mechanisms = allowedMechanisms(settings.mechanism, settings.direct);
    const variable = /^env:(.*)$/.exec(uri.pinSource)?.[1];
    if (variable !== undefined) shared.secretVariables.add(variable);
    shared.pinSources.add(uri.pinSource);
    this.#listed = new ListedKeys(settings.keyset);
    this.admin = new Pkcs11Admin(settings.keyset, this);
  }

  async describe(context: RemoteContext): Promise<RemoteKekDescription> {
    const { manifest, damaged, unlisted } = await this.#listed.read(context.accept);
    const { primary } = manifest;
    const keys = manifest.keys.flatMap(({ id, state }) => (state === 'retired' ? [] : [{ id, state }]));
    const ids = [...keys, ...unlisted.map(({ entry }) => entry)].map(({ id }) => id);
    const missing = await this.#missing(ids, context);
    const found = missing.includes(primary) ? this.#gone(primary) : await this.#probe(primary, context);
    const gone = found?.code === 'ERR_KMS_KEY_GONE';
    const lost = keys.find(({ id }) => missing.includes(id));
    const error = gone || !lost ? found : this.#gone(lost.id);
    return {
      contextId: Buffer.from(manifest.contextId, 'hex'),
      primary,
      keys,
      missing,
      // Whoever destroyed one of these has retired it before.
      unlisted: unlisted.filter(({ entry }) => !missing.includes(entry.id)),
      manifest,
      damaged: damaged && !gone ? damaged : error && { error, answered: !gone, primary: gone },
    };
  }

  /** Tests the primary, each time. @returns what is to be said of it */
  async #probe(primary: string, context: RemoteContext): Promise<KmsError | undefined> {
    this.#keys.delete(primary);
    try {
      const { mechanism } = await this.keyInfo(primary, context);
      return await this.#budget(primary, mechanism)?.warning();
    } catch (error) {
      if (error instanceof KmsError && error.code === 'ERR_KMS_KEY_GONE') return error;
      throw error;
    }
  }

  async wrap(keyId: string, key: SecretBytes, context: RemoteContext): Promise<Buffer> {
    this.#checkOpen();
    await this.#listed.check(keyId, 'wrap');
    return this.#wrap(keyId, key, context);
  }

  async #wrap(keyId: string, key: SecretBytes, context: RemoteContext): Promise<Buffer> {
    const { mechanism, publicKey } = await this.keyInfo(keyId, context);
    if (publicKey && isRsa(mechanism)) {
      this.#listed.checkPublicKey(keyId, publicKey);
      const hash = mechanism === 'rsa-oaep-sha256' ? 'sha256' : 'sha1';
      return wrappedForm(mechanism, wrapWithPublicKey(publicKey, hash, key.expose()));
    }
    await this.#budget(keyId, mechanism)?.take();
    const sealed = this.#host.channel.seal(key);
    const blob = await this.token().call({ op: 'wrap', ...this.#select(keyId), mechanism, key: sealed }, context);
    return wrappedForm(mechanism, blob);
  }

  /** Each unwrap is an operation of the token, as direct mode promises. Callers share unwraps, not this class. */
  async unwrap(keyId: string, wrapped: Buffer, context: RemoteContext): Promise<SecretBytes> {
    await this.#listed.check(keyId, 'unwrap');
    const form = wrapped.length <= MAX_WRAPPED_BYTES ? parseWrappedForm(wrapped) : undefined;
    if (!form) throw new KmsError('ERR_KMS_UNWRAP_FAILED', `${wrapped.length} bytes are no wrapped local KEK`);
    const key = this.#select(keyId);
    const test = { op: 'key', ...key, mechanisms: [form.mechanism] } as const;
    const token = this.token();
    const sealed = await unwrapOrRefuse(
      () => token.call({ op: 'unwrap', ...key, ...form }, context),
      () => token.call(test, context),
    );
    return this.#host.channel.open(sealed, form.blob);
  }

  watch(onChange: () => void): () => void {
    return watchDirectory(this.#settings.keyset, onChange);
  }

  counters(): Readonly<Record<string, number>> {
    return this.#closed ? {} : { ...this.#lease?.resource.counters, token_logins: this.#token?.logins ?? 0 };
  }

  examine(context: RemoteContext): Promise<readonly Finding[]> {
    return examineToken(this, this.#uri.object, this.#shared.clock, context);
  }

  async close(): Promise<void> {
    if (this.#token && !this.#closed) this.#host.owners.forget(this.#token);
    this.#closed = true;
    for (const budget of this.#budgets.values()) await budget.release();
    await this.#lease?.release();
  }

  /**
   * Makes a key in the token under `keyId`, which is in no manifest yet.
   * @param given - 32 bytes to put into the token instead
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`, also for a token that takes no key in the clear
   */
  async generate(keyId: string, given?: SecretBytes): Promise<void> {
    const context = { signal: AbortSignal.timeout(GENERATE_TIMEOUT_MS) };
    const what = { ...this.#select(keyId), mechanisms: this.#mechanisms };
    const ask = given
      ? ({ op: 'import', ...what, key: this.#host.channel.seal(given) } as const)
      : ({ op: 'generate', ...what } as const);
    await this.token().call(ask, context, GENERATE_TIMEOUT_MS);
  }

  /** Wraps a check key under a key of the token. @returns what the manifest must say of the key */
  async traitsOf(keyId: string, contextId: Buffer): Promise<KeyTraits> {
    const context = { signal: AbortSignal.timeout(GENERATE_TIMEOUT_MS) };
    const { publicKey } = await this.keyInfo(keyId, context);
    const { key, traits } = newKey(keyId, contextId);
    try {
      const checkKey = (await this.#wrap(keyId, key, context)).toString('base64');
      return { ...traits, checkKey, ...(publicKey && { publicKey: publicKeyHash(publicKey) }) };
    } finally {
      key.wipe();
    }
  }

  async keyIds(): Promise<readonly string[]> {
    const ids = await this.listKeys({ signal: AbortSignal.timeout(KEY_TIMEOUT_MS) });
    return ids.filter((id) => this.#uri.id?.equals(Buffer.from(id)) ?? true);
  }

  async destroy(keyId: string): Promise<void> {
    const context = { signal: AbortSignal.timeout(GENERATE_TIMEOUT_MS) };
    await this.token().call({ op: 'destroy', ...this.#select(keyId) }, context);
    this.#keys.delete(keyId);
  }

  /** Describes a version: tested at its first use, and remembered. */
  keyInfo(keyId: string, { signal }: RemoteContext): Promise<KeyInfo> {
    let info = this.#keys.get(keyId);
    if (!info) {
      // Not by the caller's signal: other calls wait for it too.
      const context = { signal: AbortSignal.timeout(KEY_TIMEOUT_MS) };
      info = this.token().call({ op: 'key', ...this.#select(keyId), mechanisms: this.#mechanisms }, context);
      this.#keys.set(keyId, info);
      info.catch(() => this.#keys.delete(keyId));
    }
    return unlessAborted(info, signal);
  }

  /** Makes a secret key for a moment. Returns what is remarkable about it, as {@link KeyInfo.remarks}. */
  remarksOnTrial(mechanism: MechanismName, context: RemoteContext): Promise<readonly string[]> {
    return this.token().call({ op: 'trial', token: this.#uri.token, mechanism }, context);
  }

  /** Returns the ids of all keys in the token that have the label, in the keyset or not. */
  listKeys(context: RemoteContext): Promise<readonly string[]> {
    const { token, object: label, type } = this.#uri;
    return this.token().call({ op: 'list', token, label, ...(type && { type }) }, context);
  }

  /** @throws {@link KmsError} `ERR_KMS_CLOSED`; `ERR_KMS_STORE_UNAVAILABLE` where the module or the binding is missing */
  token(): Token {
    this.#checkOpen();
    this.#token ??= new Token({
      uri: this.#uri,
      host: this.#host,
      stateDirectory: this.#settings.stateDirectory,
      clock: this.#shared.clock,
    });
    return this.#token;
  }

  /** Before each lease: nobody would release one that is taken after the close. */
  #checkOpen(): void {
    if (this.#closed) throw new KmsError('ERR_KMS_CLOSED', 'this key store was closed');
  }

  /** The token host of all instances with the same module, sessions and time limit. */
  get #host(): TokenHost {
    this.#checkOpen();
    if (!this.#lease) {
      checkBinding();
      const { sessions, callTimeout: callTimeoutMs, libraryParameters: parameters } = this.#settings;
      const own = { modulePath: findModule(this.#uri.module), sessions, callTimeoutMs, parameters };
      const { report, clock, secretVariables: withheld, pinSources } = this.#shared;
      const make = () => new TokenHost({ ...own, withheld, pinSources, report, clock });
      this.#lease = this.#shared.acquire(['pkcs11', ...Object.values(own)].join(' '), make);
    }
    return this.#lease.resource;
  }

  /**
   * Returns the keys that a logged-in search does not find. Some modules show a process only the keys that existed when it
   * started (tpm2-pkcs11), or no keys after their token was replaced (SoftHSM2). So a new process looks again for a key that
   * this process has shown before, or that is younger than this process as far as we know.
   */
  async #missing(keyIds: readonly string[], context: RemoteContext): Promise<readonly string[]> {
    const host = this.#host;
    for (const id of keyIds) if (!this.#seenIn.has(id)) this.#seenIn.set(id, host.running);
    for (;;) {
      const { generation } = host;
      const found = await this.listKeys(context);
      if (host.generation !== generation) continue;
      const missing = keyIds.filter((id) => !found.includes(id));
      for (const id of keyIds) if (found.includes(id)) this.#seenIn.set(id, generation);
      const doubtful = missing.filter((id) => this.#seenIn.get(id) === generation);
      if (doubtful.length === 0) return missing;
      host.renew(generation, `a new process looks for key ${doubtful.join(', ')}`);
    }
  }

  #select(keyId: string): KeySelector {
    const { token, object: label, type, id } = this.#uri;
    if (id && !id.equals(Buffer.from(keyId))) {
      throw new KmsError('ERR_KMS_KEY_GONE', `the key URI names one key by its id, and that is not ${keyId}`);
    }
    return { token, label, keyId, ...(type && { type }) };
  }

  /** Counts wraps where their number is limited and matters. All instances with this key share a budget. */
  #budget(keyId: string, mechanism: MechanismName): WrapBudget | undefined {
    const { stateDirectory, direct } = this.#settings;
    if (!direct || mechanism !== 'aes-gcm') return undefined;
    this.#checkOpen();
    let budget = this.#budgets.get(keyId);
    if (!budget) {
      const name = `pkcs11 wraps ${stateDirectory} ${keyId}`;
      budget = this.#shared.acquire(name, () => new WrapBudget(stateDirectory, keyId));
      this.#budgets.set(keyId, budget);
    }
    return budget.resource;
  }

  #gone(keyId: string): KmsError {
    const message = `key ${keyId} is not in the token any more (${this.#uri.shown})`;
    return new KmsError('ERR_KMS_KEY_GONE', message, { remedy: RESTORE_IN_TOKEN });
  }
}
