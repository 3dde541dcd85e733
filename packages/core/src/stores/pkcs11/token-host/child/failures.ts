import type { Failure, FailureKind } from '../protocol.ts';
import { describe, nameOf } from './pkcs11.ts';

/** An operation that ends with an answer for the plugin instead of a value. */
export class OperationFailed extends Error {
  override readonly name = 'OperationFailed';
  readonly kind: FailureKind;

  constructor(kind: FailureKind, message: string) {
    super(message);
    this.kind = kind;
  }
}

const KINDS: Readonly<Record<string, FailureKind>> = {
  CKR_ENCRYPTED_DATA_INVALID: 'refused',
  CKR_ENCRYPTED_DATA_LEN_RANGE: 'refused',
  CKR_WRAPPED_KEY_INVALID: 'refused',
  CKR_WRAPPED_KEY_LEN_RANGE: 'refused',
  CKR_AEAD_DECRYPT_FAILED: 'refused',
  CKR_KEY_FUNCTION_NOT_PERMITTED: 'forbidden',
  CKR_USER_NOT_LOGGED_IN: 'no-login',
  CKR_PIN_INCORRECT: 'pin-refused',
  CKR_PIN_INVALID: 'pin-refused',
  CKR_PIN_LEN_RANGE: 'pin-refused',
  CKR_PIN_EXPIRED: 'pin-refused',
  CKR_PIN_LOCKED: 'pin-locked',
};

/**
 * Sorts what a module returns (PKCS#11 2.40 §5.1). What is not listed may pass: tokens use CKR_GENERAL_ERROR,
 * CKR_FUNCTION_FAILED and CKR_DEVICE_ERROR for lost connections and for wrong bytes alike.
 */
export function kindOf(error: unknown): FailureKind {
  if (error instanceof OperationFailed) return error.kind;
  return KINDS[nameOf(error) ?? ''] ?? 'unavailable';
}

export function failureOf(error: unknown): Failure {
  return { kind: kindOf(error), message: error instanceof OperationFailed ? error.message : describe(error) };
}

const AMBIGUOUS = new Set([
  'CKR_GENERAL_ERROR',
  'CKR_FUNCTION_FAILED',
  'CKR_DEVICE_ERROR',
  'CKR_DATA_INVALID',
  'CKR_DATA_LEN_RANGE',
  'CKR_ARGUMENTS_BAD',
]);

/** Whether a module may mean by it either that the bytes are wrong or that it has trouble of its own. */
export const isAmbiguous = (error: unknown): boolean => AMBIGUOUS.has(nameOf(error) ?? '');

/** What may be a refusal. */
export class DoubtfulRefusal extends Error {
  override readonly name = 'DoubtfulRefusal';
}

/** Only for the call that unwraps: the same words from a search or a session are trouble and nothing else. */
export function orDoubt<T>(unwrap: () => T): T {
  try {
    return unwrap();
  } catch (error) {
    throw isAmbiguous(error) ? new DoubtfulRefusal(describe(error)) : error;
  }
}
