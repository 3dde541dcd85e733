import { TokenFailure } from '../protocol.ts';
import type { TokenInfo, TokenSelector } from '../protocol.ts';
import { mayBeTheSession } from './failures.ts';
import { pkcs11 } from './pkcs11.ts';
import type { Handle, Pkcs11 } from './pkcs11.ts';

/** pkcs11t.h; the binding does not name them. */
const CKS_RO_USER_FUNCTIONS = 1;
const CKS_RW_USER_FUNCTIONS = 3;
/** Labels of other tokens in an error. */
const SHOWN_LABELS = 8;

/** A key in the token, as one session sees it. */
export interface Key {
  readonly handle: Handle;
  /** A key that wraps is a secret key, or the private half of a pair. */
  readonly keyClass: 'secret' | 'private';
  /** Of an RSA key that has unwrapped: bytes of the modulus. */
  modulusBytes?: number;
}

/** One session with one token, and the keys that were looked up in it. */
export class Session {
  readonly module: Pkcs11;
  readonly slot: Handle;
  readonly handle: Handle;
  readonly keys = new Map<string, Key>();

  constructor(module: Pkcs11, token: TokenSelector, writable = false) {
    this.module = module;
    this.slot = findToken(module, token).slot;
    this.handle = module.C_OpenSession(this.slot, pkcs11.CKF_SERIAL_SESSION | (writable ? pkcs11.CKF_RW_SESSION : 0));
  }

  get loggedIn(): boolean {
    const { state } = this.module.C_GetSessionInfo(this.handle);
    return state === CKS_RO_USER_FUNCTIONS || state === CKS_RW_USER_FUNCTIONS;
  }

  close(): void {
    try {
      this.module.C_CloseSession(this.handle);
    } catch {
      // A lost session is closed already.
    }
  }
}

/** The sessions of one thread, one for each token. */
export class Sessions {
  readonly #module: Pkcs11;
  readonly #open = new Map<string, Session>();
  opened = 0;

  constructor(module: Pkcs11) {
    this.#module = module;
  }

  /** Runs `work` in the session with a token, and once more in a new session where that may help. */
  run<T>(token: TokenSelector, work: (session: Session) => T): T {
    try {
      return this.runOnce(token, work);
    } catch (error) {
      if (!mayBeTheSession(error)) throw error;
    }
    return this.runOnce(token, work);
  }

  runOnce<T>(token: TokenSelector, work: (session: Session) => T): T {
    const name = JSON.stringify(token);
    let session = this.#open.get(name);
    if (!session) this.#open.set(name, (session = this.#new(token)));
    try {
      return work(session);
    } catch (error) {
      if (mayBeTheSession(error)) this.#replace(name, token, session);
      throw error;
    }
  }

  /** Runs `work` in a session of its own that may write to the token. */
  runWriting<T>(token: TokenSelector, work: (session: Session) => T): T {
    const session = this.#new(token, true);
    try {
      return work(session);
    } finally {
      session.close();
    }
  }

  /** Opens the new session before it closes the old one: a process without a session is logged out. */
  #replace(name: string, token: TokenSelector, old: Session): void {
    this.#open.delete(name);
    try {
      this.#open.set(name, this.#new(token));
    } catch {
      // The next operation opens it, or reports why that fails.
    } finally {
      old.close();
    }
  }

  #new(token: TokenSelector, writable?: boolean): Session {
    const session = new Session(this.#module, token, writable);
    this.opened++;
    return session;
  }
}

interface FoundToken {
  readonly slot: Handle;
  readonly info: Omit<TokenInfo, 'loggedIn'>;
}

/**
 * Finds the one token that matches.
 * @throws TokenFailure `unavailable` for no token and for several; what the module throws where a slot that cannot be read may hold it
 */
export function findToken(module: Pkcs11, selector: TokenSelector): FoundToken {
  const { slotId, ...texts } = selector;
  const fields = Object.entries(texts) as [keyof typeof texts, string][];
  const found: FoundToken[] = [];
  const labels: string[] = [];
  let unreadable: unknown;
  for (const slot of module.C_GetSlotList(true)) {
    try {
      const info = tokenInfo(module, slot);
      labels.push(info.label);
      const inSlot = slotId === undefined || slotId === Number(slot.readBigUInt64LE());
      if (inSlot && fields.every(([name, text]) => info[name] === text)) found.push({ slot, info });
    } catch (error) {
      unreadable = error;
    }
  }
  if (found.length === 1) return found[0]!;
  if (found.length === 0 && unreadable) throw unreadable as Error;
  const wanted = Object.entries(selector).map(([name, value]) => `${name} "${String(value)}"`);
  if (found.length > 0) {
    const message = `${found.length} tokens with ${wanted.join(', ')}: name one more precisely`;
    throw new TokenFailure('unavailable', message);
  }
  const there = labels.slice(0, SHOWN_LABELS).map((label) => JSON.stringify(label));
  if (labels.length > SHOWN_LABELS) there.push(`${labels.length - SHOWN_LABELS} more`);
  const others = there.length === 0 ? 'the module shows no token at all' : `the module shows ${there.join(', ')}`;
  throw new TokenFailure('unavailable', `no token with ${wanted.join(', ')}; ${others}`);
}

function tokenInfo(module: Pkcs11, slot: Handle): FoundToken['info'] {
  const raw = module.C_GetTokenInfo(slot);
  // PKCS#11 pads with blanks; some modules leave zero bytes.
  const text = (padded: string) => padded.replace(/[\0 ]+$/, '');
  return {
    label: text(raw.label),
    manufacturer: text(raw.manufacturerID),
    serial: text(raw.serialNumber),
    model: text(raw.model),
    pinFinalTry: (raw.flags & pkcs11.CKF_USER_PIN_FINAL_TRY) !== 0,
    pinLocked: (raw.flags & pkcs11.CKF_USER_PIN_LOCKED) !== 0,
  };
}
