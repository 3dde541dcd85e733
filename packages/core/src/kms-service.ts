/** A value, or a promise of it where a key store must be asked first. Callers on the hot path test for the promise. */
export type MaybePromise<T> = T | Promise<T>;

/** What every operation carries along. */
export interface CallContext {
  /** Aborted when the caller gave up or its deadline passed. The operation may go on for others, but not for this caller. */
  readonly signal: AbortSignal;
}

export interface EncryptContext extends CallContext {
  /**
   * The key_id that a Status on the same connection announced a moment ago (design D1). While that key may still seal,
   * it does, so that kube-apiserver, which compares the two, does not throw the answer away.
   */
  readonly announcedKeyId?: string | undefined;
}

export interface EncryptResult {
  /** An envelope (`docs/spec/envelope-v1.md`), 1–65,535 bytes. */
  readonly ciphertext: Buffer;
  /** The key-encryption key's public id, 1–64 characters. */
  readonly keyId: string;
}

export interface DecryptRequest {
  readonly ciphertext: Buffer;
  /** KMS v2 sends the id that Encrypt gave; KMS v1 has none. */
  readonly keyId?: string | undefined;
}

export interface StatusResult {
  /** `ok`, or the reason why not, without secrets: kube-apiserver shows it in /healthz. */
  readonly healthz: string;
  readonly keyId: string;
}

/**
 * One instance's service, whatever holds its key: the same three calls that kube-apiserver makes
 * (k8s.io/kms/pkg/service/interface.go).
 */
export interface KmsService {
  /**
   * Seals `plaintext` (1 or more bytes) under the current key.
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` while no key is known, `ERR_KMS_KEY_GONE`,
   * `ERR_KMS_LIMIT_EXCEEDED`, `ERR_KMS_OVERLOADED`, `ERR_KMS_DEADLINE_EXCEEDED`, `ERR_KMS_CANCELLED`
   */
  encrypt(plaintext: Uint8Array, context: EncryptContext): MaybePromise<EncryptResult>;
  /**
   * Opens what {@link KmsService.encrypt} of this keyset, on any replica, has sealed. The caller owns and wipes the
   * result; it is never wrong or empty.
   * @throws {@link KmsError} as encrypt, and all of the envelope's rejects (`docs/spec/envelope-v1.md` §9)
   */
  decrypt(request: DecryptRequest, context: CallContext): MaybePromise<Buffer>;
  /**
   * The health as last probed in the background: never asks the store (design D1).
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` while no key is known, `ERR_KMS_KEY_GONE` when it is lost for certain
   */
  status(): MaybePromise<StatusResult>;
  /** What an operator should see of this service: no secrets, plain JSON. */
  describe(): ServiceDescription;
  /** Starts the background work. Returns at once: a store that is away must not delay the start of the plugin. */
  start(): void;
  /** Ends the background work and wipes the keys. Calls fail with `ERR_KMS_CLOSED` from then on. */
  close(): Promise<void>;
}

export interface ServiceDescription {
  readonly uri: string;
  readonly primary: string | undefined;
  readonly keys: readonly { readonly id: string; readonly state: string; readonly decrypts: number }[];
  /** ms since the key store last answered well; `undefined` before the first time. */
  readonly lastGoodProbeAgeMs: number | undefined;
  /** Trouble that an operator should know although the service still works, e.g. a damaged manifest. */
  readonly warnings: readonly string[];
  /** Local KEKs that are held open now, where there are such. */
  readonly cacheEntries?: number;
  /** Monotonic counters, for metrics: name (snake_case, without prefix) to value. */
  readonly counters: Readonly<Record<string, number>>;
}

/** What happens rarely enough to be told one by one. */
export type ServiceEvent =
  | {
      readonly type: 'store-operation';
      readonly operation: 'load' | 'describe' | 'wrap' | 'unwrap';
      readonly durationMs: number;
      readonly ok: boolean;
    }
  | { readonly type: 'key-switched'; readonly from: string | undefined; readonly to: string }
  | { readonly type: 'store-ok' }
  | { readonly type: 'store-failed'; readonly error: Error; readonly keyLoaded: boolean }
  | { readonly type: 'unknown-key'; readonly keyId: string };

export type EventListener = (event: ServiceEvent) => void;
