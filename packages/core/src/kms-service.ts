import type { ReplicaReport } from './keyset/report.ts';

/** A value, or a promise if the key store must be read first. Callers on the hot path test for the promise. */
export type MaybePromise<T> = T | Promise<T>;

/** What every operation carries. */
export interface CallContext {
  /** Aborted when the caller gives up or its deadline passes. The operation may continue for other callers. */
  readonly signal: AbortSignal;
}

export interface EncryptContext extends CallContext {
  /**
   * The key_id that Status has just announced on the same connection (design D1). It is used while that key may still seal, because
   * kube-apiserver compares the two and rejects a different one.
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
  /** KMS v2 sends the id that Encrypt returned. KMS v1 sends none. */
  readonly keyId?: string | undefined;
}

export interface StatusResult {
  /** `ok`, or the reason why not, without secrets. kube-apiserver shows it in /healthz. */
  readonly healthz: string;
  readonly keyId: string;
}

/**
 * The service of one instance, whichever store holds its key: the three calls of kube-apiserver (k8s.io/kms/pkg/service/interface.go), and
 * what the plugin needs to run it.
 */
export interface KmsService {
  /**
   * Seals `plaintext` (1 or more bytes) under the current key.
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` while no key is known, `ERR_KMS_KEY_GONE`,
   * `ERR_KMS_LIMIT_EXCEEDED`, `ERR_KMS_OVERLOADED`, `ERR_KMS_DEADLINE_EXCEEDED`, `ERR_KMS_CANCELLED`
   */
  encrypt(plaintext: Uint8Array, context: EncryptContext): MaybePromise<EncryptResult>;
  /**
   * Opens what {@link KmsService.encrypt} sealed with this keyset on any replica. The caller owns and wipes the result, which is never wrong
   * or empty.
   * @throws {@link KmsError} as encrypt, and the errors of `docs/spec/envelope-v1.md` §9
   */
  decrypt(request: DecryptRequest, context: CallContext): MaybePromise<Buffer>;
  /** Whether the key of this id is known now, without a look into the store. */
  holds(keyId: string): boolean;
  /**
   * The result of the last probe in the background. Never reads the store (design D1).
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` while no key is known, `ERR_KMS_KEY_GONE` if it is lost for certain
   */
  status(): MaybePromise<StatusResult>;
  /**
   * Waits for the first answer of the store.
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` while no key is loaded
   */
  ready(): MaybePromise<void>;
  /** What an operator should see of this service: plain JSON without secrets. */
  describe(): ServiceDescription;
  /**
   * Proves to whoever has the same keys that this process holds them, for a promotion (`docs/spec/keyset-v2.md` §10).
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` while no key is loaded
   */
  report(about: ReportSubject): ReplicaReport;
  /** Starts the background work and returns at once, so that an unavailable store does not delay the start of the plugin. */
  start(): void;
  /** Ends the background work and wipes the keys. Later calls fail with `ERR_KMS_CLOSED`. */
  close(): Promise<void>;
}

/** Who reports, and when. */
export type ReportSubject = Pick<ReplicaReport, 'replica' | 'host' | 'time' | 'nonce'>;

export interface ServiceDescription {
  readonly uri: string;
  /** The key that seals; `undefined` while none does. */
  readonly primary: string | undefined;
  /** The keyset in use; `undefined` if none is loaded. */
  readonly keyset?: { readonly contextId: string; readonly generation: number; readonly hash: string } | undefined;
  /** The stores that only decrypt, and the keysets that are loaded from them. */
  readonly decryptOnly?: readonly Pick<ServiceDescription, 'uri' | 'keyset'>[];
  /** `verified`: its check value matches, or it has opened data. */
  readonly keys: readonly {
    readonly id: string;
    readonly state: string;
    readonly decrypts: number;
    readonly verified: boolean;
  }[];
  /** Time in ms since the last good probe; `undefined` before the first one. */
  readonly lastGoodProbeAgeMs: number | undefined;
  /** Problems that an operator should know about although the service works, for example a damaged manifest. */
  readonly warnings: readonly string[];
  /** What should be put right some time, and puts no key at risk now. */
  readonly hints: readonly string[];
  /** Unwrapped local KEKs in memory, for stores that have local KEKs. */
  readonly cacheEntries?: number;
  /** Monotonic counters, for metrics: name (snake_case, without prefix) to value. */
  readonly counters: Readonly<Record<string, number>>;
}

/** Events that are rare enough to be reported one by one. */
export type ServiceEvent =
  | {
      readonly type: 'store-operation';
      readonly operation: 'load' | 'describe' | 'wrap' | 'unwrap';
      readonly durationMs: number;
      readonly ok: boolean;
    }
  | { readonly type: 'key-switched'; readonly from: string | undefined; readonly to: string }
  | { readonly type: 'store-ok' }
  /** The probe failed with another error than before. `keyLoaded`: the keys in memory stay in use; without any, calls are refused. */
  | { readonly type: 'store-failed'; readonly error: Error; readonly keyLoaded: boolean }
  | { readonly type: 'unknown-key'; readonly keyId: string };

export type EventListener = (event: ServiceEvent) => void;
