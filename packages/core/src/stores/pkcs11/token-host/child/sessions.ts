import type { TokenInfo, TokenSelector } from '../protocol.ts';
import { kindOf, OperationFailed } from './failures.ts';
import { pkcs11 } from './pkcs11.ts';
import type { Handle, Pkcs11 } from './pkcs11.ts';

/** pkcs11t.h; the binding does not name them. */
const CKS_RO_USER_FUNCTIONS = 1;
const CKS_RW_USER_FUNCTIONS = 3;

/** What a key that wraps can be: a secret key of its own, or the private half of a pair. */
export type KeyClass = 'secret' | 'private';

/** One session of this thread's with one token, and the key handles that were looked up in it. */
export class Session {
  readonly module: Pkcs11;
  readonly slot: Handle;
  readonly handle: Handle;
  readonly classes = new WeakMap<Handle, KeyClass>();
  /** Of RSA keys, in bytes. */
  readonly sizes = new WeakMap<Handle, number>();
  readonly #keys = new Map<string, Handle>();

  constructor(module: Pkcs11, slot: Handle, writable: boolean) {
    this.module = module;
    this.slot = slot;
    this.handle = module.C_OpenSession(slot, pkcs11.CKF_SERIAL_SESSION | (writable ? pkcs11.CKF_RW_SESSION : 0));
  }

  get loggedIn(): boolean {
    const { state } = this.module.C_GetSessionInfo(this.handle);
    return state === CKS_RO_USER_FUNCTIONS || state === CKS_RW_USER_FUNCTIONS;
  }

  /** The handle of a key, looked up once for each session. */
  key(name: string, find: () => Handle): Handle {
    let handle = this.#keys.get(name);
    if (!handle) {
      handle = find();
      this.#keys.set(name, handle);
    }
    return handle;
  }

  close(): void {
    try {
      this.module.C_CloseSession(this.handle);
    } catch {
      // It is gone already, which is why it is thrown away.
    }
  }
}

/** This thread's sessions, one for each token. */
export class Sessions {
  readonly #module: Pkcs11;
  readonly #open = new Map<string, Session>();
  opened = 0;

  constructor(module: Pkcs11) {
    this.#module = module;
  }

  /**
   * Runs `work` in a session with the token. When it fails for a reason that a new session may cure (a lost session or
   * token, a stale handle, an operation that is stuck in it) it is run once more in a new one.
   */
  run<T>(token: TokenSelector, work: (session: Session) => T): T {
    const name = JSON.stringify(token);
    try {
      return work(this.#session(name, token));
    } catch (error) {
      if (!mayBeTheSession(error)) throw error;
      this.#replace(name, token);
    }
    return this.#runIn(name, token, work);
  }

  /** Runs `work` in a session that works, and does not run it again. */
  runOnce<T>(token: TokenSelector, work: (session: Session) => T): T {
    this.run(token, (session) => session.loggedIn);
    return this.#runIn(JSON.stringify(token), token, work);
  }

  /** What is stuck in a session must not meet the next. */
  #runIn<T>(name: string, token: TokenSelector, work: (session: Session) => T): T {
    try {
      return work(this.#session(name, token));
    } catch (error) {
      if (mayBeTheSession(error)) this.#tryToReplace(name, token);
      throw error;
    }
  }

  /** Runs `work` in a session of its own that may write to the token. */
  runWriting<T>(token: TokenSelector, work: (session: Session) => T): T {
    const session = new Session(this.#module, findToken(this.#module, token).slot, true);
    this.opened++;
    try {
      return work(session);
    } finally {
      session.close();
    }
  }

  #session(name: string, token: TokenSelector): Session {
    let session = this.#open.get(name);
    if (!session) {
      session = this.#new(token);
      this.#open.set(name, session);
    }
    return session;
  }

  /** The new one is opened before the old one is closed: with its last session a process is logged out. */
  #replace(name: string, token: TokenSelector): void {
    const old = this.#open.get(name);
    this.#open.delete(name);
    try {
      this.#open.set(name, this.#new(token));
    } finally {
      old?.close();
    }
  }

  #tryToReplace(name: string, token: TokenSelector): void {
    try {
      this.#replace(name, token);
    } catch {
      // Then the next one who needs it opens it, or learns why that fails.
    }
  }

  #new(token: TokenSelector): Session {
    const session = new Session(this.#module, findToken(this.#module, token).slot, false);
    this.opened++;
    return session;
  }
}

/** Blanks, as the standard says; some modules leave zero bytes. */
const withoutPadding = (text: string): string => text.replace(/[\0 ]+$/, '');

/**
 * Looks for the one token that is meant.
 * @throws OperationFailed `unavailable` where there is none, or several; what the module throws for a slot, where it may have been in that one
 */
export function findToken(module: Pkcs11, selector: TokenSelector): FoundToken {
  const found: FoundToken[] = [];
  let unreadable: unknown;
  for (const slot of module.C_GetSlotList(true)) {
    try {
      const info = tokenInfo(module, slot);
      if (matches(slot, info, selector)) found.push({ slot, info });
    } catch (error) {
      unreadable = error;
    }
  }
  if (found.length === 1) return found[0]!;
  if (found.length === 0 && unreadable) throw unreadable as Error;
  const wanted = Object.entries(selector).map(([name, value]) => `${name} "${String(value)}"`);
  const message = `${found.length === 0 ? 'no token' : `${found.length} tokens`} with ${wanted.join(', ')}`;
  throw new OperationFailed('unavailable', found.length === 0 ? message : `${message}: name one more precisely`);
}

interface FoundToken {
  readonly slot: Handle;
  readonly info: Omit<TokenInfo, 'loggedIn'>;
}

function tokenInfo(module: Pkcs11, slot: Handle): FoundToken['info'] {
  const raw = module.C_GetTokenInfo(slot);
  return {
    label: withoutPadding(raw.label),
    manufacturer: withoutPadding(raw.manufacturerID),
    serial: withoutPadding(raw.serialNumber),
    model: withoutPadding(raw.model),
    pinFinalTry: (raw.flags & pkcs11.CKF_USER_PIN_FINAL_TRY) !== 0,
    pinLocked: (raw.flags & pkcs11.CKF_USER_PIN_LOCKED) !== 0,
  };
}

function matches(slot: Handle, info: FoundToken['info'], { slotId, ...texts }: TokenSelector): boolean {
  if (slotId !== undefined && slotId !== Number(slot.readBigUInt64LE())) return false;
  return (Object.keys(texts) as (keyof typeof texts)[]).every((name) => texts[name] === info[name]);
}

function mayBeTheSession(error: unknown): boolean {
  return !(error instanceof OperationFailed) && kindOf(error) === 'unavailable';
}
