import { KmsError } from '../../../errors.ts';
import { safeText } from '../../../util/safe-text.ts';
import type { MechanismName } from './mechanism-name.ts';
import type { RsaPublicKey } from './rsa-oaep.ts';

/** Selects a token: every field given must match CK_TOKEN_INFO, where padding does not count. */
export interface TokenSelector {
  readonly label?: string;
  readonly manufacturer?: string;
  readonly serial?: string;
  readonly model?: string;
  readonly slotId?: number;
}

/** Selects the keys with a label (CKA_LABEL) in a token: all versions of one key. */
export interface LabelSelector {
  readonly token: TokenSelector;
  readonly label: string;
  /** Only objects of this class match. */
  readonly type?: 'secret-key' | 'private';
}

/** Selects one version of a key. */
export interface KeySelector extends LabelSelector {
  /** CKA_ID, as ASCII. */
  readonly keyId: string;
}

export interface TokenInfo {
  readonly label: string;
  readonly manufacturer: string;
  readonly serial: string;
  readonly model: string;
  /** CKF_USER_PIN_FINAL_TRY: one more wrong PIN locks the token. */
  readonly pinFinalTry: boolean;
  /** CKF_USER_PIN_LOCKED */
  readonly pinLocked: boolean;
  /** Whether the token host's process is logged in. */
  readonly loggedIn: boolean;
}

export interface KeyInfo {
  /** The mechanism that wraps under this key. The token host has tested it. */
  readonly mechanism: MechanismName;
  /** Of an RSA key: wraps outside the token. Read from the private object, which nobody can replace without the PIN. */
  readonly publicKey?: RsaPublicKey;
  /** Attributes that an operator should know about, such as `CKA_EXTRACTABLE is true`. */
  readonly remarks: readonly string[];
}

/** Bytes that only the other end of a {@link SealedChannel} opens. */
export type Sealed = Buffer;

/** The operations of the token host by name: what each is asked and what it answers. All plain data. */
export interface Operations {
  /** Describes the token. */
  token: { ask: { readonly token: TokenSelector }; answer: TokenInfo };
  /** Answers whether the token saw the PIN: it did not where the process was logged in already. */
  login: { ask: { readonly token: TokenSelector; readonly pin: Sealed }; answer: boolean };
  /** Finds a key, and tests the mechanisms in this order until one works. */
  key: { ask: KeySelector & { readonly mechanisms: readonly MechanismName[] }; answer: KeyInfo };
  wrap: { ask: KeySelector & { readonly mechanism: MechanismName; readonly key: Sealed }; answer: Buffer };
  /** Answers the local KEK, sealed for this blob. */
  unwrap: { ask: KeySelector & { readonly mechanism: MechanismName; readonly blob: Buffer }; answer: Sealed };
  /** Makes a key for the first of the mechanisms that the token offers. */
  generate: { ask: KeySelector & { readonly mechanisms: readonly MechanismName[] }; answer: undefined };
  /** Puts an AES key of 32 bytes into the token, for the first of the mechanisms that the token offers. */
  import: {
    ask: KeySelector & { readonly mechanisms: readonly MechanismName[]; readonly key: Sealed };
    answer: undefined;
  };
  destroy: { ask: KeySelector; answer: undefined };
  /** Makes a secret key as `generate` does, for a moment, and answers its {@link KeyInfo.remarks}. A pair would take a TPM a minute. */
  trial: { ask: { readonly token: TokenSelector; readonly mechanism: MechanismName }; answer: readonly string[] };
  /** Answers the ids of all keys with this label. */
  list: { ask: LabelSelector; answer: readonly string[] };
}

export type OperationName = keyof Operations;
export type Ask<Name extends OperationName = OperationName> = {
  [N in Name]: { readonly op: N } & Operations[N]['ask'];
}[Name];

/** Why an operation failed. */
export const failureKinds = [
  /** The token says that these bytes are not a wrapped key of this version. */
  'refused',
  /** An unwrap failed with a code that tokens use both for wrong bytes and for trouble of their own. */
  'ambiguous',
  /** A logged-in search does not find the key. */
  'no-key',
  /** The key's attributes do not allow this use. */
  'forbidden',
  /** The process is not logged in. */
  'no-login',
  /** The outcome of a login. */
  'pin-refused',
  'pin-locked',
  'pin-not-set',
  /** The operation never started; for a login, the token has not looked at the PIN. */
  'not-begun',
  /** The process ended before it answered, so the outcome is unknown. */
  'host-ended',
  /** The operator must change something; trying again cannot help. */
  'unusable',
  /** Anything else; trying again may help. */
  'unavailable',
] as const;
export type FailureKind = (typeof failureKinds)[number];

export interface Failure {
  readonly kind: FailureKind;
  /** For an operator, such as `CKR_DEVICE_ERROR in C_Decrypt`. Holds no secret. */
  readonly message: string;
}

/** Longest message of a failure, in characters. */
const MAX_MESSAGE = 1_000;

/** An operation that failed. */
export class TokenFailure extends Error {
  override readonly name = 'TokenFailure';
  readonly kind: FailureKind;
  /** What the module returned, in the token host. */
  readonly ckr: number | undefined;

  constructor(kind: FailureKind, message: string, ckr?: number) {
    // Parts of it come from the module.
    super(safeText(message, MAX_MESSAGE));
    this.kind = kind;
    this.ckr = ckr;
  }
}

/** The kind of a failure, also where an error has it as its cause. */
export function kindOf(error: unknown): FailureKind | undefined {
  const failure = error instanceof KmsError ? error.cause : error;
  return failure instanceof TokenFailure ? failure.kind : undefined;
}

export interface Request {
  readonly id: number;
  readonly ask: Ask;
}

export interface Reply {
  readonly id: number;
  readonly value?: unknown;
  readonly failure?: Failure;
  /** Sessions that the operation opened. */
  readonly sessionsOpened: number;
}

/** From the plugin to the token host. The module's path and the number of sessions are its command line. */
export type ToHost = readonly Request[] | 'stop';

/** From the token host to the plugin. */
export type FromHost =
  | { readonly type: 'started' }
  /** One thread has logged in, and another is not logged in by that. */
  | { readonly type: 'login-of-a-thread' }
  | { readonly type: 'broken'; readonly message: string }
  | { readonly type: 'replies'; readonly replies: readonly Reply[] };
