import { keyIdOf } from '../envelope/codec.ts';
import { KmsError } from '../errors.ts';
import type { KeysetHolder } from '../keyset/keyset-source.ts';
import type { LegacyOpener } from '../keyset/legacy-opener.ts';
import type {
  CallContext,
  DecryptRequest,
  EncryptContext,
  EncryptResult,
  KmsService,
  MaybePromise,
  ReportSubject,
  ServiceDescription,
  StatusResult,
} from '../kms-service.ts';
import type { ReplicaReport } from '../keyset/report.ts';
import { DecryptCounts } from './decrypt-counts.ts';

/**
 * A service that also decrypts what another plugin wrote, with the legacy keys that come with the keyset. Everything else goes to the
 * service inside. A provider adds it with {@link KeysetProvider.decorate}.
 */
export class LegacyService implements KmsService {
  readonly #inner: KmsService & KeysetHolder;
  readonly #decrypts = new DecryptCounts();

  constructor(inner: KmsService & KeysetHolder) {
    this.#inner = inner;
  }

  encrypt(plaintext: Uint8Array, context: EncryptContext): MaybePromise<EncryptResult> {
    return this.#inner.encrypt(plaintext, context);
  }

  decrypt(request: DecryptRequest, context: CallContext): MaybePromise<Buffer> {
    const keyset = this.#inner.usableKeyset();
    if (keyset instanceof Promise) return keyset.then(() => this.decrypt(request, context));
    const { legacy } = keyset;
    return legacy && isLegacy(legacy, request) ? this.#open(legacy, request) : this.#inner.decrypt(request, context);
  }

  holds(keyId: string): boolean {
    return this.#inner.holds(keyId) || (this.#inner.keyset?.legacy?.keyIds.includes(keyId) ?? false);
  }

  status(): MaybePromise<StatusResult> {
    return this.#inner.status();
  }

  ready(): MaybePromise<void> {
    return this.#inner.ready();
  }

  describe(): ServiceDescription {
    const inner = this.#inner.describe();
    const legacyIds = this.#inner.keyset?.legacy?.keyIds ?? [];
    const legacyKeys = legacyIds.map((id) => ({
      id,
      state: 'legacy',
      decrypts: this.#decrypts.of(id),
      verified: this.#decrypts.of(id) > 0,
    }));
    return { ...inner, keys: [...inner.keys, ...legacyKeys] };
  }

  report(about: ReportSubject): ReplicaReport {
    return this.#inner.report(about);
  }

  start(): void {
    this.#inner.start();
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  #open(legacy: LegacyOpener, { ciphertext, keyId }: DecryptRequest): Buffer {
    const opened = legacy.open(ciphertext, keyId);
    if (!opened) {
      throw new KmsError(
        'ERR_KMS_AUTHENTICATION_FAILED',
        'the ciphertext is damaged, or no legacy key of this instance sealed it',
      );
    }
    this.#decrypts.add(opened.keyId);
    return opened.plaintext;
  }
}

/** A KMS v2 request names a legacy key. A KMS v1 request names no key: there, everything that is not an envelope counts as legacy. */
function isLegacy(legacy: LegacyOpener, { ciphertext, keyId }: DecryptRequest): boolean {
  return keyId === undefined ? keyIdOf(ciphertext) === undefined : legacy.keyIds.includes(keyId);
}
