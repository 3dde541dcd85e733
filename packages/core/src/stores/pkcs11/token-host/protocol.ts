import type { MechanismName } from './mechanism-name.ts';
import type { RsaPublicKey } from './rsa-oaep.ts';

/** Which token; all that is given must match. Labels and numbers as CK_TOKEN_INFO has them, without the padding. */
export interface TokenSelector {
  readonly label?: string;
  readonly manufacturer?: string;
  readonly serial?: string;
  readonly model?: string;
  readonly slotId?: number;
}

/** Where a version of a key is: a token, the label that all versions share, and the id of one (its CKA_ID, as ASCII). */
export interface KeyPlace {
  readonly token: TokenSelector;
  readonly label: string;
  readonly keyId: string;
  /** Only an object of this kind counts. */
  readonly type?: 'secret-key' | 'private';
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
  /** Whether this process is logged in. */
  readonly loggedIn: boolean;
}

export interface KeyInfo {
  /** What wraps under this key: tried, and found to work. */
  readonly mechanism: MechanismName;
  /** For RSA: what wraps outside the token. From the private key object, which nobody can replace without the PIN. */
  readonly publicKey?: RsaPublicKey;
  /** Attributes that an operator would want to be otherwise, e.g. `CKA_EXTRACTABLE is true`. */
  readonly remarks: readonly string[];
}

/** Bytes that only the other end of a {@link SealedChannel} can open. */
export type Sealed = Buffer;

/** What the plugin asks of the token host, by name: what it says and what comes back. All plain data. */
export interface Operations {
  /** Looks for the token. */
  token: { ask: { readonly token: TokenSelector }; answer: TokenInfo };
  /** Answers whether the token was shown the PIN: it was not where somebody is logged in already. */
  login: { ask: { readonly token: TokenSelector; readonly pin: Sealed }; answer: boolean };
  /** Looks for a key and tries what wraps under it. */
  key: { ask: KeyPlace & { readonly mechanism: MechanismName | 'auto' }; answer: KeyInfo };
  wrap: { ask: KeyPlace & { readonly mechanism: MechanismName; readonly key: Sealed }; answer: Buffer };
  unwrap: { ask: KeyPlace & { readonly wrapped: Buffer }; answer: Sealed };
  generate: { ask: KeyPlace & { readonly mechanism: MechanismName | 'auto' }; answer: undefined };
  destroy: { ask: KeyPlace; answer: undefined };
  /** The ids of all keys with this label. */
  list: { ask: Omit<KeyPlace, 'keyId'>; answer: readonly string[] };
}

export type OperationName = keyof Operations;
export type Ask<Name extends OperationName = OperationName> = {
  [N in Name]: { readonly op: N } & Operations[N]['ask'];
}[Name];

/**
 * Why an operation failed:
 * - `refused`: the token says that these bytes are not a wrapped key of this version
 * - `no-key`: a logged-in search does not find the key
 * - `forbidden`: the token does not let this key be used so
 * - `no-login`: somebody must log in first
 * - `pin-refused`, `pin-locked`: what came of a login
 * - `not-begun`: a login that failed before the token was shown the PIN; trying again may help
 * - `unusable`: something that an operator must change; trying again cannot help
 * - `unavailable`: anything else; trying again may help
 */
export type FailureKind =
  | 'refused'
  | 'no-key'
  | 'forbidden'
  | 'no-login'
  | 'pin-refused'
  | 'pin-locked'
  | 'not-begun'
  | 'unusable'
  | 'unavailable';

export interface Failure {
  readonly kind: FailureKind;
  /** For an operator: what the token said, e.g. `CKR_DEVICE_ERROR in C_Decrypt`. No secret. */
  readonly message: string;
}

export interface Request {
  readonly id: number;
  readonly ask: Ask;
}

export type Reply =
  | { readonly id: number; readonly value: unknown; readonly failure?: undefined }
  | { readonly id: number; readonly failure: Failure };

/** What the token host tells of itself with its replies: since the last time. */
export interface RepliesAbout {
  readonly sessionsOpened: number;
  /** ms that a wrap or an unwrap takes, as a running mean; `undefined` before the first. */
  readonly keyMs: number | undefined;
  /** Requests that a thread was given and has not begun: they wait again. */
  readonly putBack: readonly number[];
}

/** From the plugin to the token host. */
export type ToHost =
  | {
      readonly type: 'start';
      readonly modulePath: string;
      readonly sessions: number;
      readonly callTimeoutMs: number;
      readonly publicKey: Buffer;
    }
  | { readonly type: 'requests'; readonly requests: readonly Request[] }
  | { readonly type: 'stop' };

/** From the token host to the plugin. */
export type FromHost =
  | { readonly type: 'started'; readonly publicKey: Buffer }
  /** One thread more than the first has loaded. */
  | { readonly type: 'thread' }
  | { readonly type: 'broken'; readonly message: string }
  | { readonly type: 'replies'; readonly replies: readonly Reply[]; readonly about: RepliesAbout };
