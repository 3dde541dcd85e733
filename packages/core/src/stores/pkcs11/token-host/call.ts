import { KmsError } from '../../../errors.ts';
import type { Failure } from './protocol.ts';

/** How a call of the token host is made. */
export interface CallOptions {
  /** Whose turn it takes. */
  readonly owner: object;
  readonly signal: AbortSignal;
  /** ms after which this call counts as hung; where it may take longer than others do. */
  readonly timeoutMs?: number;
  /** Not done again when its process ends before the answer: a PIN must not be tried twice. */
  readonly once?: boolean;
}

/** No process has begun what was asked: a PIN was not shown to the token, for one. */
export class NotBegun extends KmsError {}

/** How an attempt to log in ended. */
export interface LoginAttempt {
  /** It got as far as the PIN, whose record is slow to look at on purpose. */
  readonly costly: boolean;
  readonly error?: unknown;
}

/** What the token host answered instead of a value. */
export class TokenFailure extends Error {
  override readonly name = 'TokenFailure';
  readonly failure: Failure;

  constructor(failure: Failure) {
    super(failure.message);
    this.failure = failure;
  }
}
