import { TokenFailure } from '../protocol.ts';
import type { FailureKind } from '../protocol.ts';
import { describe, pkcs11 } from './pkcs11.ts';

/** PKCS#11 3.0; the binding has no names for them. */
const CKR_AEAD_DECRYPT_FAILED = 0x42;
const CKR_PIN_TOO_WEAK = 0x1b8;

const KINDS: ReadonlyMap<number, FailureKind> = new Map([
  [pkcs11.CKR_ENCRYPTED_DATA_INVALID, 'refused'],
  [pkcs11.CKR_ENCRYPTED_DATA_LEN_RANGE, 'refused'],
  [pkcs11.CKR_WRAPPED_KEY_INVALID, 'refused'],
  [pkcs11.CKR_WRAPPED_KEY_LEN_RANGE, 'refused'],
  [CKR_AEAD_DECRYPT_FAILED, 'refused'],
  [pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED, 'forbidden'],
  [pkcs11.CKR_USER_NOT_LOGGED_IN, 'no-login'],
  [pkcs11.CKR_PIN_INCORRECT, 'pin-refused'],
  [pkcs11.CKR_PIN_INVALID, 'pin-refused'],
  [pkcs11.CKR_PIN_LEN_RANGE, 'pin-refused'],
  [pkcs11.CKR_PIN_EXPIRED, 'pin-refused'],
  [CKR_PIN_TOO_WEAK, 'pin-refused'],
  [pkcs11.CKR_PIN_LOCKED, 'pin-locked'],
  [pkcs11.CKR_USER_PIN_NOT_INITIALIZED, 'pin-not-set'],
]);

/**
 * Codes with which C_Login says that no PIN was compared (PKCS#11 2.40 §5.1: the state of the library, the token or the session
 * was wrong at the time of the call). Any other code may hide a refusal, such as those for errors of the device or of memory.
 */
const PIN_NOT_COMPARED: ReadonlySet<number> = new Set([
  pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED,
  pkcs11.CKR_FUNCTION_NOT_SUPPORTED,
  pkcs11.CKR_SESSION_HANDLE_INVALID,
  pkcs11.CKR_TOKEN_NOT_PRESENT,
  pkcs11.CKR_TOKEN_NOT_RECOGNIZED,
  pkcs11.CKR_USER_ANOTHER_ALREADY_LOGGED_IN,
  pkcs11.CKR_USER_TOO_MANY_TYPES,
  pkcs11.CKR_USER_TYPE_INVALID,
]);

/** Codes that tokens return both for wrong bytes and for trouble of their own. */
const AMBIGUOUS: ReadonlySet<number> = new Set([
  pkcs11.CKR_GENERAL_ERROR,
  pkcs11.CKR_FUNCTION_FAILED,
  pkcs11.CKR_DEVICE_ERROR,
  pkcs11.CKR_DATA_INVALID,
  pkcs11.CKR_DATA_LEN_RANGE,
  pkcs11.CKR_ARGUMENTS_BAD,
]);

/** Codes about the token, the session or a handle: they say nothing about a mechanism. */
const TROUBLE: ReadonlySet<number> = new Set([
  pkcs11.CKR_HOST_MEMORY,
  pkcs11.CKR_DEVICE_ERROR,
  pkcs11.CKR_DEVICE_MEMORY,
  pkcs11.CKR_DEVICE_REMOVED,
  pkcs11.CKR_TOKEN_NOT_PRESENT,
  pkcs11.CKR_TOKEN_NOT_RECOGNIZED,
  pkcs11.CKR_SESSION_CLOSED,
  pkcs11.CKR_SESSION_COUNT,
  pkcs11.CKR_SESSION_HANDLE_INVALID,
  pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED,
  pkcs11.CKR_OBJECT_HANDLE_INVALID,
  pkcs11.CKR_KEY_HANDLE_INVALID,
  pkcs11.CKR_OPERATION_ACTIVE,
  pkcs11.CKR_OPERATION_NOT_INITIALIZED,
]);

/** The return value of a call (CKR), or `undefined` for any other error. */
export function codeOf(error: unknown): number | undefined {
  if (error instanceof TokenFailure) return error.ckr;
  return error instanceof pkcs11.Pkcs11Error ? error.code : undefined;
}

const isIn = (codes: ReadonlySet<number>, error: unknown): boolean => codes.has(codeOf(error) ?? -1);

/** Whether C_Login says that no PIN was compared, so that trying it again costs nothing. */
export const isBeforeThePin = (error: unknown): boolean => isIn(PIN_NOT_COMPARED, error);

export const isAmbiguous = (error: unknown): boolean => isIn(AMBIGUOUS, error);

/** Classifies what the module returned (PKCS#11 2.40 §5.1). Any other code is `unavailable`. */
export function failureOf(error: unknown): TokenFailure {
  if (error instanceof TokenFailure) return error;
  return new TokenFailure(KINDS.get(codeOf(error) ?? -1) ?? 'unavailable', describe(error));
}

/** Whether a new session may help: a lost session or token, a stale handle, an operation stuck in the session. */
export const mayBeTheSession = (error: unknown): boolean =>
  codeOf(error) !== undefined && ['unavailable', 'ambiguous'].includes(failureOf(error).kind);

/** Whether a failed test of a mechanism is about the mechanism, and not about the token, the login or the key's attributes. */
export function isAboutMechanism(error: unknown): boolean {
  const { kind } = failureOf(error);
  return kind !== 'no-login' && kind !== 'forbidden' && !isIn(TROUBLE, error);
}

/** Runs the calls that unwrap. An ambiguous code from them may mean wrong bytes; from any other call it is trouble. */
export function unwrapping<T>(unwrap: () => T): T {
  try {
    return unwrap();
  } catch (error) {
    throw isAmbiguous(error) ? new TokenFailure('ambiguous', describe(error), codeOf(error)) : error;
  }
}
