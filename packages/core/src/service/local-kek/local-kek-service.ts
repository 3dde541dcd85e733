import type { Envelope } from '../../envelope/codec.ts';
import { KmsError } from '../../errors.ts';
import type { CallContext, EncryptContext, EncryptResult, MaybePromise } from '../../kms-service.ts';
import { unlessAborted } from '../../util/abort.ts';
import { timed } from '../../util/timed.ts';
import { BaseService } from '../base.ts';
import type { ServiceOptions } from '../base.ts';
import type { Damage } from '../damage.ts';
import type { StoredManifest } from '../../keyset/manifest.ts';
import type { Verdict } from '../keyset-guard.ts';
import { KekCache } from './kek-cache.ts';
import type { LocalKekLimits, RemoteKek, RemoteKekDescription } from './remote-kek.ts';
import { defaultLimits } from './settings.ts';
import { destroyLocalKek, SealingKeks } from './sealing-keks.ts';
import { TokenProofs } from './token-proofs.ts';
import { overloaded, Unwrapper } from './unwrapper.ts';

export interface LocalKekServiceOptions extends ServiceOptions, Partial<LocalKekLimits> {
  readonly remote: RemoteKek;
  /** Time in ms that one operation of the token may take. Default 10 s. */
  readonly operationTimeoutMs?: number;
  /** Whether this is only a store that held the keys before: then no local KEK is made. Default: false. */
  readonly decryptOnly?: boolean;
}

const ACCEPTED: Verdict = { use: 'all' };

/** A function, because the compiler does not see that a callback has changed the verdict. */
const refused = ({ use }: Verdict): boolean => use === 'nothing';

/**
 * The service over a KEK that stays in a token. It seals with local KEKs that the token has wrapped, and caches those that the token has
 * unwrapped, so that the token is called once per distinct wrapped key.
 */
export class LocalKekService extends BaseService {
  readonly #remote: RemoteKek;
  readonly #limits: LocalKekLimits;
  readonly #cache: KekCache;
  readonly #sealing: SealingKeks;
  readonly #unwrapper: Unwrapper;
  readonly #proofs: TokenProofs;
  #description: RemoteKekDescription | undefined;
  /** The context ids of the keysets that the keys in use belong to, by key id. */
  #contexts: ReadonlyMap<string, Buffer> = new Map();
  /** False for a keyset that only opens: an older generation, or another key in the primary's place. */
  #seals = true;
  readonly #decryptOnly: boolean;
  #probes = 0;
  #directWraps = 0;

  constructor(options: LocalKekServiceOptions) {
    const { remote, operationTimeoutMs: timeoutMs = 10_000 } = options;
    super(remote, timeoutMs, options);
    const { clock, onEvent } = this;
    const limits = { ...defaultLimits, ...options };
    this.#remote = remote;
    this.#decryptOnly = options.decryptOnly ?? false;
    this.#proofs = new TokenProofs(remote);
    this.#limits = limits;
    this.#cache = new KekCache({ ...limits, clock });
    const parts = { ...limits, clock, onEvent, timeoutMs, cache: this.#cache };
    this.#sealing = new SealingKeks(parts);
    this.#unwrapper = new Unwrapper(parts);
  }

  override holds(keyId: string): boolean {
    return this.#contexts.has(keyId);
  }

  protected override seal(plaintext: Uint8Array, context: EncryptContext): MaybePromise<EncryptResult> {
    if (!this.#seals) throw this.refusal();
    if (this.#limits.direct) return this.#sealDirect(plaintext, context);
    const kek = this.#sealing.usable(context.announcedKeyId);
    return kek ? this.crypto.seal(kek, plaintext, context) : this.#sealAfterRefresh(plaintext, context);
  }

  protected override open(envelope: Envelope, context: CallContext): MaybePromise<Buffer> {
    if (envelope.wrapped.length === 0) {
      throw new KmsError('ERR_KMS_AUTHENTICATION_FAILED', 'the envelope carries no wrapped local KEK');
    }
    const name = this.#unwrapper.nameOf(envelope);
    // A local KEK outlives the use of its key, up to its hard age.
    const contextId = this.#contexts.get(envelope.keyId) ?? this.#description?.contextId;
    const kek = contextId && this.#unwrapper.cached(name, envelope, contextId);
    return kek ? this.openWith(kek, envelope, context) : this.#unwrapAndOpen(name, envelope, context);
  }

  protected override announcedKeyId(): string | undefined {
    if (!this.#seals) return undefined;
    return this.#limits.direct ? this.#description?.primary : this.#sealing.keyId;
  }

  protected override get opens(): boolean {
    return this.#description !== undefined;
  }

  protected override held() {
    if (!this.#description) return undefined;
    const { manifest, keys } = this.#description;
    // The manifest must list what a report proves.
    const proofs = [...this.#proofs.proofs].filter(([id]) => keys.some((key) => key.id === id));
    return { manifest, proofs: new Map(proofs) };
  }

  protected override describeKeys() {
    const { proofs } = this.#proofs;
    return {
      keys: (this.#description?.keys ?? []).map((key) => ({ ...key, verified: proofs.has(key.id) })),
      warnings: this.#unlistedWarnings(),
      cacheEntries: this.#cache.size,
      counters: {
        probes: this.#probes,
        probe_failures: this.probeFailures,
        ...this.#unwrapper.counters,
        wraps: this.#sealing.wraps,
        cache_evictions: this.#cache.evictions,
        ...this.#remote.counters?.(),
      },
    };
  }

  protected override destroyKeys(): void {
    this.#sealing.destroy();
    this.#proofs.destroy();
    this.#unwrapper.close();
    this.#cache.clear();
  }

  protected override async readStore(signal: AbortSignal): Promise<Damage | undefined> {
    this.#probes++;
    this.#cache.sweep();
    let verdict: Verdict = { use: 'all' };
    const accept = async (manifest: StoredManifest): Promise<void> => {
      if (this.guard) verdict = await this.guard.judge(manifest, this.#description?.manifest, this.#seals);
      if (verdict.use === 'nothing') throw verdict.problem;
    };
    const describe = () => unlessAborted(this.#remote.describe({ signal, accept }), signal);
    const { offered, wrong, lost } = await this.#verified(
      () => timed(this.clock, 'describe', describe, this.onEvent),
      signal,
    );
    // A store that goes on without what was refused has described what is in use.
    const { use, problem } = refused(verdict) ? ACCEPTED : verdict;
    if (this.closed) {
      this.#proofs.destroy();
      return undefined;
    }
    const keys = offered.keys.filter(({ id }) => !wrong.has(id));
    const unlisted = offered.unlisted?.filter((key) => this.#proofs.keeps(key)) ?? [];
    const description = { ...offered, keys, unlisted };
    const { primary, manifest, damaged } = description;
    this.#description = description;
    this.#contexts = contextsOf(description);
    // A local KEK of the right key is still in memory: it seals until its hard age.
    this.#seals = use === 'all' && (!lost || this.#sealing.keyId === primary);
    if (problem) return { error: problem, answered: false, primary: true };
    if (manifest) await this.guard?.remember(manifest);
    if (!lost && !this.#limits.direct && !this.#decryptOnly) await this.#renewSealingKek(description, signal);
    const [error] = wrong.values();
    if (damaged?.primary || !error) return damaged;
    return { error: lost ?? error, answered: true, primary: lost !== undefined };
  }

  /** Describes the token, and tests its keys. What cannot be asked now proves nothing to a promotion. */
  async #verified(describe: () => Promise<RemoteKekDescription>, signal: AbortSignal) {
    try {
      const offered = await describe();
      const { primary, damaged } = offered;
      const sealing = !this.#decryptOnly && this.#sealing.isDue(primary);
      const wrong = await this.#proofs.verify(offered, sealing, signal);
      const lost = damaged?.primary ? damaged.error : wrong.get(primary);
      // Where nothing seals, the keys that are left open what they can.
      if (lost?.code === 'ERR_KMS_KEY_GONE' && this.announcedKeyId() !== undefined) throw lost;
      return { offered, wrong, lost };
    } catch (error) {
      this.#proofs.forgetPending();
      const gone = error instanceof KmsError && error.code === 'ERR_KMS_KEY_GONE';
      if (gone && this.#description) this.#proofs.forget([this.#description.primary]);
      throw error;
    }
  }

  #unlistedWarnings(): readonly string[] {
    const { manifest, unlisted = [] } = this.#description ?? {};
    return unlisted.map(
      ({ entry: { id } }) =>
        `key ${id} is still used although generation ${manifest?.generation} of the keyset does not list it. If data may still need it, restore the keyset that lists it before the plugin restarts`,
    );
  }

  async #sealAfterRefresh(plaintext: Uint8Array, context: EncryptContext): Promise<EncryptResult> {
    await this.refresh(context);
    const kek = this.#sealing.usable(context.announcedKeyId);
    if (!kek) throw this.refusal();
    return this.crypto.seal(kek, plaintext, context);
  }

  async #sealDirect(plaintext: Uint8Array, context: EncryptContext): Promise<EncryptResult> {
    const { announcedKeyId, signal } = context;
    const description = this.#description;
    if (!description) throw this.refusal();
    const announced = description.keys.find((key) => key.id === announcedKeyId && key.state === 'promoted');
    const keyId = announced?.id ?? description.primary;
    if (this.#directWraps >= this.#limits.maxPending) {
      this.#unwrapper.counters.rejected++;
      throw overloaded(this.#limits.maxPending);
    }
    this.#directWraps++;
    const making = this.#sealing.make(keyId, description.contextId, signal).finally(() => this.#directWraps--);
    const kek = await unlessAborted(making, signal, destroyLocalKek);
    try {
      return await this.crypto.seal(kek.sealing, plaintext, context);
    } finally {
      destroyLocalKek(kek);
    }
  }

  #unwrapAndOpen(name: string, envelope: Envelope, context: CallContext): Promise<Buffer> {
    const unwrap = (contextId: Buffer) =>
      unlessAborted(this.#unwrapper.unwrap(name, envelope, contextId), context.signal);
    // A known key is not awaited: in a storm, the first unwraps start before the last Decrypts are read.
    const known = this.#contexts.get(envelope.keyId);
    const kek = known ? unwrap(known) : this.#contextAfterRefresh(envelope.keyId, context).then(unwrap);
    return kek.then((kek) => {
      if (this.closed) throw this.refusal();
      return this.openWith(kek, envelope, context);
    });
  }

  #contextAfterRefresh(keyId: string, context: CallContext): Promise<Buffer> {
    const find = () => {
      if (!this.#description) throw this.refusal();
      return this.#contexts.get(keyId);
    };
    return this.findAfterRefresh(keyId, find, context);
  }

  /** The announced key changes only when a local KEK under the new one is ready to seal (design D1). */
  async #renewSealingKek(description: RemoteKekDescription, signal: AbortSignal): Promise<void> {
    const from = this.#sealing.keyId;
    await unlessAborted(this.#sealing.renew(description, signal), signal);
    this.switched(from, this.#sealing.keyId);
  }
}

const contextsOf = ({ keys, unlisted = [], contextId }: RemoteKekDescription): ReadonlyMap<string, Buffer> =>
  new Map([
    ...unlisted.map(({ entry, contextId }) => [entry.id, contextId] as const),
    ...keys.map(({ id }) => [id, contextId] as const),
  ]);
