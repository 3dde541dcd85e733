import { safeLines, safeText } from './util/safe-text.ts';

/**
 * Stable error codes for code, tests, logs and documentation. Message texts may change, codes do not. The server maps each code to a gRPC
 * status (`packages/server/src/kms/status-codes.ts`).
 */
export type KmsErrorCode =
  | 'ERR_KMS_INVALID_REQUEST' // the caller's request breaks a rule of the KMS API
  | 'ERR_KMS_ENVELOPE_MALFORMED' // the ciphertext is not an envelope of ours: magic, lengths, characters
  | 'ERR_KMS_ENVELOPE_VERSION' // a version or suite that this plugin does not know
  | 'ERR_KMS_LIMIT_EXCEEDED' // a length is over its cap, or empty where that is not allowed
  | 'ERR_KMS_KEY_ID_MISMATCH' // the request's key_id is not the envelope's
  | 'ERR_KMS_UNKNOWN_KEY' // the envelope names a key that the keyset does not have
  | 'ERR_KMS_KEY_RETIRED' // the envelope names a key that was retired
  | 'ERR_KMS_AUTHENTICATION_FAILED' // the AEAD tag is wrong: changed bytes, another key or another context
  | 'ERR_KMS_UNWRAP_FAILED' // the token refused to unwrap: changed bytes or another key
  | 'ERR_KMS_STORE_UNAVAILABLE' // the key store cannot be reached now; a retry may help
  | 'ERR_KMS_KEY_GONE' // the key store says for certain that the key is gone, disabled or forbidden
  | 'ERR_KMS_KEYSET_INVALID' // a manifest or key blob is damaged
  | 'ERR_KMS_KEYSET_PERMISSIONS' // users who must not can read a key blob
  | 'ERR_KMS_KEYSET_STALE' // the store has an older, a conflicting or a foreign keyset instead of the one in use
  | 'ERR_KMS_KEYSET_CONFLICT' // another process changed the keyset at the same time
  | 'ERR_KMS_KEYSET_RULE' // the change would break a rule of rotation, for example, promote a former primary
  | 'ERR_KMS_INVALID_URI' // a key URI or its settings are not valid
  | 'ERR_KMS_STORED_VALUE_MALFORMED' // a value of etcd is not what its prefix says
  | 'ERR_KMS_ETCD_UNAVAILABLE' // etcd cannot be reached, refuses the call, or gives no good answer
  | 'ERR_KMS_SNAPSHOT_INVALID' // a file is not a whole snapshot of etcd
  | 'ERR_KMS_OVERLOADED' // too many operations wait for the key store
  | 'ERR_KMS_DEADLINE_EXCEEDED' // the caller's deadline passed
  | 'ERR_KMS_CANCELLED' // the caller gave up
  | 'ERR_KMS_CLOSED'; // the service is shutting down

export interface KmsErrorOptions {
  readonly cause?: unknown;
  /** What an operator should do about it: one sentence or one command, without secrets. */
  readonly remedy?: string | undefined;
}

/** Longest message and remedy of an error, in characters: twenty problems of a file, each with its path. */
const MAX_MESSAGE = 8_000;
const MAX_REMEDY = 2_000;

/**
 * The one error class of Teapot KMS. `message` says what happened and where, `remedy` what to do; neither holds a secret.
 * `cause` is for logs and is never sent to a caller. Both texts are made safe here, because parts of many of them come from outside (D17).
 */
export class KmsError extends Error {
  override readonly name = 'KmsError';
  readonly code: KmsErrorCode;
  readonly remedy: string | undefined;

  constructor(code: KmsErrorCode, message: string, options: KmsErrorOptions = {}) {
    super(safeLines(message, MAX_MESSAGE), 'cause' in options ? { cause: options.cause } : undefined);
    this.code = code;
    this.remedy = options.remedy === undefined ? undefined : safeText(options.remedy, MAX_REMEDY);
  }

  /** Returns `error` itself when it is a {@link KmsError}, else a new one with `code`, its own message by default, and `error` as the cause. */
  static from(error: unknown, code: KmsErrorCode, message = messageOf(error)): KmsError {
    return error instanceof KmsError ? error : new KmsError(code, message, { cause: error });
  }
}

/** Whatever was thrown. */
const messageOf = (error: unknown): string => (error instanceof Error ? error.message : 'it failed');

/** A key store that cannot be reached or used now: `ERR_KMS_STORE_UNAVAILABLE`. */
export const unavailable = (message: string, options?: KmsErrorOptions): KmsError =>
  new KmsError('ERR_KMS_STORE_UNAVAILABLE', message, options);
