import type { Envelope } from '../envelope/codec.ts';
import { KmsError } from '../errors.ts';
import type { Keyset } from '../keyset/keyset.ts';
import type { StoredManifest } from '../keyset/manifest.ts';
import type { KeysetHolder, KeysetSource } from '../keyset/keyset-source.ts';
import type { CallContext, EncryptContext, EncryptResult, MaybePromise } from '../kms-service.ts';
import { unlessAborted } from '../util/abort.ts';
import { timed } from '../util/timed.ts';
import { BaseService } from './base.ts';
import type { ServiceOptions } from './base.ts';
import type { Damage } from './damage.ts';
import type { Verdict } from './keyset-guard.ts';

export interface KeysetServiceOptions extends ServiceOptions {
  readonly source: KeysetSource;
  /** Time in ms for which keys stay in use after the store said for certain that they are gone. Default 10 min. */
  readonly goneGraceMs?: number;
  /** Time in ms that one load may take. Default: what the source asks for, or 10 s. */
  readonly loadTimeoutMs?: number;
}

/** The service over keys in our memory, from any store that delivers keys. Encrypt and Decrypt never wait for the store. */
export class KeysetService extends BaseService implements KeysetHolder {
  readonly #source: KeysetSource;
  readonly #goneGraceMs: number;
  #loads = 0;
  #confirmedAt = 0;
  #keyset: Keyset | undefined;
  /** False for a keyset that this host has used in a newer generation: then it only opens. */
  #seals = true;

  constructor(options: KeysetServiceOptions) {
    const { source } = options;
    super(source, options.loadTimeoutMs ?? source.loadTimeoutMs ?? 10_000, options);
    this.#source = source;
    this.#goneGraceMs = options.goneGraceMs ?? 10 * 60_000;
  }

  get keyset(): Keyset | undefined {
    return this.#keyset;
  }

  usableKeyset(): MaybePromise<Keyset> {
    if (this.starting) return this.starting.then(() => this.usableKeyset());
    return this.#usable();
  }

  override holds(keyId: string): boolean {
    return this.#keyset?.has(keyId) ?? false;
  }

  protected override seal(plaintext: Uint8Array, context: EncryptContext): MaybePromise<EncryptResult> {
    if (!this.#seals) throw this.refusal();
    return this.crypto.seal(this.#usable().sealingKey(context.announcedKeyId), plaintext, context);
  }

  protected override open(envelope: Envelope, context: CallContext): MaybePromise<Buffer> {
    // Only an instance whose key stays in a token makes local KEKs.
    if (envelope.wrapped.length > 0) {
      throw new KmsError(
        'ERR_KMS_AUTHENTICATION_FAILED',
        'the envelope carries a wrapped local KEK; a keyset has none',
      );
    }
    return this.#tryOpen(envelope, context) ?? this.#openAfterRefresh(envelope, context);
  }

  protected override announcedKeyId(): string | undefined {
    const keyset = this.#unexpired();
    return keyset?.seals && this.#seals ? keyset.manifest.primary : undefined;
  }

  protected override get opens(): boolean {
    return this.#keyset !== undefined;
  }

  protected override held() {
    return this.#keyset;
  }

  protected override describeKeys() {
    const { manifest, warnings = [] } = this.#keyset ?? {};
    const keys = (manifest?.keys ?? []).map((key) => ({ ...key, verified: this.#keyset?.isVerified(key.id) ?? false }));
    const counters = { loads: this.#loads, load_failures: this.probeFailures };
    return { keys, warnings, counters };
  }

  protected override destroyKeys(): void {
    this.#keyset?.destroy();
    this.#keyset = undefined;
  }

  protected override async readStore(signal: AbortSignal): Promise<Damage | undefined> {
    let offered: StoredManifest | undefined;
    try {
      let verdict: Verdict = { use: 'all' };
      const accept = async (manifest: StoredManifest): Promise<void> => {
        offered = manifest;
        if (this.guard) verdict = await this.guard.judge(manifest, this.#keyset?.manifest, this.#seals);
        if (verdict.use === 'nothing') throw verdict.problem;
      };
      const load = () => unlessAborted(this.#source.load({ signal, accept }), signal, (late) => late.destroy());
      return await this.#take(await timed(this.clock, 'load', load, this.onEvent), verdict);
    } catch (error) {
      await this.#confirm(signal);
      const keyset = this.#unexpired();
      if (!keyset) throw error;
      const problem = await this.#reconsider(keyset.manifest);
      if (problem) return { error: problem, answered: false, primary: true };
      if (!isDamage(error)) throw error;
      // What cannot be read may list the key that somebody asks for.
      return { error, answered: false, primary: !offered || !keyset.primaryIsIn(offered) };
    }
  }

  /** A manifest that was rolled back, damaged or removed says nothing about the keys in memory: the store does. */
  async #confirm(signal: AbortSignal): Promise<void> {
    const manifest = this.#unexpired()?.manifest;
    if (!manifest || !this.#source.confirm) return;
    try {
      await unlessAborted(this.#source.confirm(manifest, signal), signal);
      this.#confirmedAt = this.clock.now();
    } catch {
      // They are not confirmed. Why the store failed is known from the load.
    }
  }

  #tryOpen(envelope: Envelope, context: CallContext): MaybePromise<Buffer> | undefined {
    const key = this.#usable().get(envelope.keyId);
    return key && this.openWith(key, envelope, context);
  }

  #openAfterRefresh(envelope: Envelope, context: CallContext): Promise<Buffer> {
    return this.findAfterRefresh(envelope.keyId, () => this.#tryOpen(envelope, context), context);
  }

  /** @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`, `ERR_KMS_KEY_GONE`, `ERR_KMS_CLOSED` */
  #usable(): Keyset {
    const keyset = this.#unexpired();
    if (!keyset) throw this.refusal();
    const { goneForMs } = this.health;
    // Without its primary it never sealed with the key that is gone.
    if (keyset.seals && goneForMs !== undefined && goneForMs > this.#goneGraceMs) this.health.healthz();
    return keyset;
  }

  /** The keyset. One that its store has not confirmed for too long is wiped first. */
  #unexpired(): Keyset | undefined {
    const { maxUnconfirmedMs = Infinity } = this.#source;
    if (this.clock.now() - this.#confirmedAt > maxUnconfirmedMs) this.destroyKeys();
    return this.#keyset;
  }

  /** Puts the keyset in the place of the one in memory. */
  async #take(keyset: Keyset, { use, problem }: Verdict): Promise<Damage | undefined> {
    if (this.closed) {
      keyset.destroy();
      return undefined;
    }
    const { problems, manifest } = keyset;
    const loss = problems.get(manifest.primary);
    const gone = loss?.code === 'ERR_KMS_KEY_GONE';
    // The keys in memory go on for a grace time (design D3). A start has none: the keys that are left open what they can.
    if (gone && this.#keyset?.seals) {
      keyset.destroy();
      throw loss;
    }
    if (this.#keyset) keyset.keepFrom(this.#keyset);
    this.#use(keyset, use === 'all');
    // The right keyset may list the key that somebody asks for.
    if (problem) return { error: problem, answered: false, primary: true };
    await this.guard?.remember(manifest);
    // Also of a key that was exchanged, which only the one in memory shows.
    const lost = problems.get(manifest.primary);
    const [error = lost] = problems.values();
    return error && { error: lost ?? error, answered: !gone, primary: lost !== undefined };
  }

  /** The store has nothing for this service. But what this host remembers may be known again. @returns why the keys in memory do not seal */
  async #reconsider(held: StoredManifest): Promise<KmsError | undefined> {
    const { use, problem } = (await this.guard?.judge(held, held, this.#seals)) ?? { use: 'all' };
    if (this.#keyset?.manifest !== held) return undefined;
    const from = this.announcedKeyId();
    this.#seals = use === 'all';
    this.switched(from, this.announcedKeyId());
    if (this.#seals) await this.guard?.remember(held);
    return problem;
  }

  #use(keyset: Keyset, seals: boolean): void {
    const from = this.announcedKeyId();
    this.destroyKeys();
    this.#keyset = keyset;
    this.#seals = seals;
    this.#confirmedAt = this.clock.now();
    this.#loads++;
    this.switched(from, this.announcedKeyId());
  }
}

/** The store can be reached, and holds something that is not a usable keyset. */
function isDamage(error: unknown): error is KmsError {
  if (!(error instanceof KmsError)) return false;
  return (
    error.code === 'ERR_KMS_KEYSET_INVALID' ||
    error.code === 'ERR_KMS_KEYSET_PERMISSIONS' ||
    error.code === 'ERR_KMS_KEYSET_STALE'
  );
}
