import { join } from 'node:path';
import { unlessAborted } from '../../util/abort.ts';
import { MAX_WRAPPED_BYTES } from '../../envelope/limits.ts';
import { KmsError } from '../../errors.ts';
import { MANIFEST_NAME } from '../../keyset/manifest.ts';
import type { Manifest } from '../../keyset/manifest.ts';
import type { RemoteContext, RemoteKek, RemoteKekDescription } from '../../service/local-kek/remote-kek.ts';
import type { Finding } from '../../finding.ts';
import type { SecretBytes } from '../../util/secret-bytes.ts';
import type { Lease, SharedResources } from '../../util/shared-resources.ts';
import { checkBinding } from './token-host/binding.ts';
import { isRsa, wrappedForm } from './token-host/mechanism-name.ts';
import type { KeyInfo, KeyPlace } from './token-host/protocol.ts';
import { wrapWithPublicKey } from './token-host/rsa-oaep.ts';
import type { SealedChannel } from './token-host/sealed-channel.ts';
import { TokenHost } from './token-host/token-host.ts';
import { readManifest } from '../file/keyset-directory.ts';
import { watchDirectory } from '../file/watch-directory.ts';
import { examineToken } from './examine.ts';
import { findModule } from './module.ts';
import { Pkcs11Admin } from './pkcs11-admin.ts';
import type { Pkcs11Settings } from './settings.ts';
import { Token } from './token.ts';
import type { Pkcs11Uri } from './uri.ts';
import { WrapBudget } from './wrap-budget.ts';

/** ms for making a key: an RSA pair takes a TPM a minute. */
const GENERATE_TIMEOUT_MS = 180_000;
/** ms for which those who wait for a look at a key share it, retries and a login among them. */
const KEY_TIMEOUT_MS = 60_000;

/** A key-encryption key that stays in an HSM or TPM. */
export class Pkcs11Kek implements RemoteKek {
  readonly uri: string;
  readonly admin: Pkcs11Admin;
  readonly #uri: Pkcs11Uri;
  readonly #settings: Pkcs11Settings;
  readonly #shared: SharedResources;
  readonly #keys = new Map<string, Promise<KeyInfo>>();
  readonly #budgets = new Map<string, Lease<WrapBudget>>();
  /** The youngest process of the token host that has shown a key, or that ran when the key was first looked for. */
  readonly #seenIn = new Map<string, number>();
  #lease: Lease<TokenHost> | undefined;
  #token: Token | undefined;
  #manifest: Manifest | undefined;
  #closed = false;

  constructor(uri: Pkcs11Uri, settings: Pkcs11Settings, shared: SharedResources) {
    this.uri = uri.shown;
    this.#uri = uri;
    this.#settings = settings;
    this.#shared = shared;
    const variable = /^env:(.*)$/.exec(uri.pinSource)?.[1];
    if (variable !== undefined) shared.secretVariables.add(variable);
    this.admin = new Pkcs11Admin(settings.keyset, this);
  }

  async describe(context: RemoteContext): Promise<RemoteKekDescription> {
    const { manifest, damaged } = await this.#readManifest();
    const keys = manifest.keys.flatMap(({ id, state }) => (state === 'retired' ? [] : [{ id, state }]));
    const { primary } = manifest;
    const missing = await this.#missing(
      keys.map(({ id }) => id),
      context,
    );
    if (missing.includes(primary)) throw gone(primary, this.#uri);
    // Tried again each time: that is the probe.
    this.#keys.delete(primary);
    const { mechanism } = await this.keyInfo(primary, context);
    const [lost] = missing;
    const spent = mechanism === 'aes-gcm' ? await this.#budget(primary).trouble() : undefined;
    return {
      contextId: Buffer.from(manifest.contextId, 'hex'),
      primary,
      keys,
      damaged: damaged ?? (lost === undefined ? spent : gone(lost, this.#uri)),
    };
  }

  async wrap(keyId: string, key: SecretBytes, context: RemoteContext): Promise<Buffer> {
    const token = this.token();
    if (!this.#manifest) await this.#readManifest();
    this.#checkListed(keyId);
    const { mechanism, publicKey } = await this.keyInfo(keyId, context);
    if (publicKey && isRsa(mechanism)) {
      const hash = mechanism === 'rsa-oaep-sha256' ? 'sha256' : 'sha1';
      return wrappedForm(mechanism, wrapWithPublicKey(publicKey, hash, key.expose()));
    }
    if (mechanism === 'aes-gcm') await this.#budget(keyId).take();
    const place = this.#place(keyId);
    const wrapped = await token.call(
      (channel) => ({ op: 'wrap', ...place, mechanism, key: channel.seal(key) }),
      context,
    );
    return Buffer.from(wrapped);
  }

  /** Each one is an operation of the token's: who shares one is the caller's business, and in direct mode nobody does. */
  async unwrap(keyId: string, wrapped: Buffer, context: RemoteContext): Promise<SecretBytes> {
    if (!this.#manifest) await this.#readManifest();
    this.#checkListed(keyId);
    if (wrapped.length === 0 || wrapped.length > MAX_WRAPPED_BYTES) {
      throw new KmsError('ERR_KMS_UNWRAP_FAILED', `${wrapped.length} bytes are no wrapped local KEK`);
    }
    const place = this.#place(keyId);
    let used: SealedChannel | undefined;
    const sealed = await this.token().call((channel) => {
      used = channel;
      return { op: 'unwrap', ...place, wrapped };
    }, context);
    return used!.open(sealed);
  }

  watch(onChange: () => void): () => void {
    return watchDirectory(this.#settings.keyset, onChange);
  }

  counters(): Readonly<Record<string, number>> {
    return this.#closed ? {} : { ...this.#lease?.resource.counters, token_logins: this.#token?.logins ?? 0 };
  }

  examine(context: RemoteContext): Promise<readonly Finding[]> {
    return examineToken(this, this.#uri, context);
  }

  async close(): Promise<void> {
    if (this.#token && !this.#closed) this.#lease?.resource.forget(this.#token);
    this.#closed = true;
    for (const budget of this.#budgets.values()) await budget.release();
    await this.#lease?.release();
  }

  /** Makes a key in the token under `keyId`, which is in no manifest yet. */
  async generate(keyId: string): Promise<void> {
    const { mechanism } = this.#settings;
    const place = this.#place(keyId);
    const context = { signal: AbortSignal.timeout(GENERATE_TIMEOUT_MS) };
    await this.token().call(() => ({ op: 'generate', ...place, mechanism }), context, GENERATE_TIMEOUT_MS);
    // One that cannot wrap must not become part of a keyset.
    await this.keyInfo(keyId, context);
  }

  async destroy(keyId: string): Promise<void> {
    const place = this.#place(keyId);
    await this.token().call(() => ({ op: 'destroy', ...place }), { signal: AbortSignal.timeout(GENERATE_TIMEOUT_MS) });
    this.#keys.delete(keyId);
  }

  /** What is known of a version: found out when it is first used, and remembered. */
  keyInfo(keyId: string, { signal }: RemoteContext): Promise<KeyInfo> {
    let info = this.#keys.get(keyId);
    if (!info) {
      const place = this.#place(keyId);
      const { mechanism } = this.#settings;
      // Not by the caller's signal: others wait for it.
      const context = { signal: AbortSignal.timeout(KEY_TIMEOUT_MS) };
      info = this.token().call(() => ({ op: 'key', ...place, mechanism }), context);
      this.#keys.set(keyId, info);
      info.catch(() => this.#keys.delete(keyId));
    }
    return unlessAborted(info, signal);
  }

  /** The ids of all keys in the token that have this label, in the keyset or not. */
  async listKeys(context: RemoteContext): Promise<readonly string[]> {
    return (await this.#look(context)).found;
  }

  /** @returns what a logged-in search finds, and in which process of the token host */
  async #look(context: RemoteContext): Promise<{ readonly found: readonly string[]; readonly generation: number }> {
    const { token, object: label, type } = this.#uri;
    let generation = 0;
    const found = await this.token().call(() => {
      generation = this.#lease!.resource.generation;
      return { op: 'list', token, label, ...(type && { type }) };
    }, context);
    return { found, generation };
  }

  /** @throws {@link KmsError} `ERR_KMS_CLOSED`, `ERR_KMS_STORE_UNAVAILABLE` where the module or the binding is missing */
  token(): Token {
    if (this.#closed) throw new KmsError('ERR_KMS_CLOSED', 'this key store was closed');
    const { sessions, callTimeout: callTimeoutMs, stateDirectory } = this.#settings;
    if (!this.#lease) {
      checkBinding();
      const modulePath = findModule(this.#uri.module);
      const { report, secretVariables: withheld } = this.#shared;
      const name = ['pkcs11', modulePath, sessions, callTimeoutMs].join(' ');
      this.#lease = this.#shared.acquire(
        name,
        () => new TokenHost({ modulePath, sessions, callTimeoutMs, withheld, report }),
      );
    }
    this.#token ??= new Token({ uri: this.#uri, host: this.#lease.resource, stateDirectory });
    return this.#token;
  }

  /**
   * Which keys a logged-in search does not find. What has come since the module was initialised, some modules see only in
   * a new process (tpm2-pkcs11), and some find nothing at all when their token was taken from under them (SoftHSM2); so a
   * key is missing when a process does not show it that is younger than our knowledge of the key and never showed it.
   */
  async #missing(keyIds: readonly string[], context: RemoteContext): Promise<readonly string[]> {
    this.token();
    const running = this.#lease!.resource.generation;
    for (const id of keyIds) if (!this.#seenIn.has(id)) this.#seenIn.set(id, running);
    for (;;) {
      const { found, generation } = await this.#look(context);
      const missing = keyIds.filter((id) => !found.includes(id));
      for (const id of keyIds) if (found.includes(id)) this.#seenIn.set(id, generation);
      const doubtful = missing.filter((id) => this.#seenIn.get(id) === generation);
      if (doubtful.length === 0) return missing;
      this.#lease!.resource.renew(generation, `key ${doubtful.join(', ')} is looked for in a new process`);
    }
  }

  #place(keyId: string): KeyPlace {
    const { token, object: label, type, id } = this.#uri;
    if (id && !id.equals(Buffer.from(keyId))) {
      throw new KmsError('ERR_KMS_KEY_GONE', `the key URI names one key by its id, and that is not ${keyId}`);
    }
    return { token, label, keyId, ...(type && { type }) };
  }

  /** One for all instances with this key: each would reserve a block of its own, one after the other. */
  #budget(keyId: string): WrapBudget {
    let budget = this.#budgets.get(keyId);
    if (!budget) {
      const { stateDirectory } = this.#settings;
      const name = `pkcs11 wraps ${stateDirectory} ${keyId}`;
      budget = this.#shared.acquire(name, () => new WrapBudget(stateDirectory, keyId));
      this.#budgets.set(keyId, budget);
    }
    return budget.resource;
  }

  #checkListed(keyId: string): void {
    const state = this.#manifest?.keys.find(({ id }) => id === keyId)?.state;
    if (state === undefined || state === 'retired') {
      throw new KmsError('ERR_KMS_UNKNOWN_KEY', `key ${keyId} is not in use in this keyset`);
    }
  }

  /** A manifest that is damaged or away takes nothing from who knows it already. */
  async #readManifest(): Promise<{ manifest: Manifest; damaged?: KmsError }> {
    const path = join(this.#settings.keyset, MANIFEST_NAME);
    try {
      this.#manifest = await readManifest(path);
      return { manifest: this.#manifest };
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      const reason = code === 'ENOENT' ? `${path}: no such file` : message;
      const failure = KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE', reason);
      if (!this.#manifest) throw failure;
      return { manifest: this.#manifest, damaged: failure };
    }
  }
}

function gone(keyId: string, uri: Pkcs11Uri): KmsError {
  return new KmsError('ERR_KMS_KEY_GONE', `key ${keyId} is not in the token any more (${uri.shown})`);
}
