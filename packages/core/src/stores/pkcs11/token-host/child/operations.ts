import { KEY_BYTES, MAX_WRAPPED_BYTES } from '../../../../envelope/limits.ts';
import type { MechanismName } from '../mechanism-name.ts';
import { mechanismNames, parseWrappedForm, wrappedForm } from '../mechanism-name.ts';
import type { Ask, KeyInfo, KeyPlace, OperationName, Operations, Sealed, TokenSelector } from '../protocol.ts';
import { bitsOf, RSA_BITS } from '../rsa-oaep.ts';
import type { SealedChannel } from '../sealed-channel.ts';
import { DoubtfulRefusal, failureOf, isAmbiguous, OperationFailed } from './failures.ts';
import { destroyKey, generateKey } from './generate.ts';
import { classOf, findKey, listKeys, remarksOn } from './keys.ts';
import { mechanisms, obstacle, publicKeyOf, selfTest } from './mechanisms.ts';
import { nameOf, pkcs11 } from './pkcs11.ts';
import type { Handle, Pkcs11 } from './pkcs11.ts';
import { findToken, Sessions } from './sessions.ts';
import type { Session } from './sessions.ts';

type Perform = { [Name in OperationName]: (ask: Operations[Name]['ask']) => Operations[Name]['answer'] };

/** What a worker thread does for the plugin: one call after the other, each to its end. */
export class TokenOperations {
  readonly sessions: Sessions;
  readonly #module: Pkcs11;
  readonly #channel: SealedChannel;
  readonly #slowMs: number;

  /** @param callTimeoutMs - ms after which the plugin takes a call for a hang */
  constructor(module: Pkcs11, channel: SealedChannel, callTimeoutMs: number) {
    this.#module = module;
    this.#channel = channel;
    this.#slowMs = callTimeoutMs / 3;
    this.sessions = new Sessions(module);
  }

  perform(ask: Ask): unknown {
    // The union of the asks and the record of what performs them are the same type seen from two sides.
    return (this.#operations[ask.op] as (ask: Ask) => unknown)(ask);
  }

  readonly #operations: Perform = {
    token: ({ token }) => {
      const { info } = findToken(this.#module, token);
      return { ...info, loggedIn: this.sessions.run(token, (session) => session.loggedIn) };
    },
    login: ({ token, pin }) => this.#login(token, pin),
    key: (ask) =>
      this.sessions.run(ask.token, (session) => keyInfo(session, findKey(session, ask), ask.keyId, ask.mechanism)),
    wrap: ({ key, mechanism, ...place }) => {
      const localKek = this.#channel.open(key);
      try {
        return this.sessions.run(place.token, (session) => {
          const handle = findKey(session, place);
          return wrappedForm(mechanism, mechanisms[mechanism].wrap(session, handle, localKek.expose(), place.keyId));
        });
      } finally {
        localKek.wipe();
      }
    },
    unwrap: ({ wrapped, ...place }) => this.#unwrap(place, Buffer.from(wrapped)),
    generate: ({ mechanism, ...place }) =>
      this.#writing(place.token, (session) => generateKey(session, place, mechanism)),
    destroy: (place) => this.#writing(place.token, (session) => destroyKey(session, place)),
    list: (ask) => this.sessions.run(ask.token, (session) => listKeys(session, ask)),
  };

  /** @throws OperationFailed `not-begun` for what fails before the token sees the PIN; what the token says of it */
  #login(token: TokenSelector, sealedPin: Sealed): boolean {
    const pinState = { shown: false };
    try {
      return this.sessions.runOnce(token, (session) => {
        if (session.loggedIn) return false;
        const pin = this.#channel.open(sealedPin);
        try {
          pinState.shown = true;
          // The binding takes a string only; it lives in this thread of the token host and nowhere else.
          session.module.C_Login(session.handle, pkcs11.CKU_USER, pin.expose().toString());
          return true;
        } finally {
          pin.wipe();
        }
      });
    } catch (error) {
      if (!pinState.shown) throw new OperationFailed('not-begun', failureOf(error).message);
      if (nameOf(error) !== 'CKR_USER_ALREADY_LOGGED_IN') throw error;
      return false;
    }
  }

  /**
   * Tokens say CKR_GENERAL_ERROR and the like for changed bytes and for trouble of their own alike. What decides is
   * whether the same key opens, right now, what it has just wrapped.
   */
  #unwrap(place: KeyPlace, wrapped: Buffer): Sealed {
    const form = wrapped.length <= MAX_WRAPPED_BYTES ? parseWrappedForm(wrapped) : undefined;
    if (!form) throw new OperationFailed('refused', 'not a wrapped local KEK');
    const once = (session: Session) => this.#unwrapIn(session, place, form.mechanism, form.blob);
    const started = performance.now();
    let doubt: DoubtfulRefusal;
    for (let confirmations = 0; ; confirmations++) {
      try {
        return confirmations === 0 ? this.sessions.run(place.token, once) : this.sessions.runOnce(place.token, once);
      } catch (error) {
        if (!(error instanceof DoubtfulRefusal)) throw error;
        doubt = error;
      }
      const enough = performance.now() - started < this.#slowMs ? CONFIRMATIONS : CONFIRMATIONS_WHEN_SLOW;
      if (confirmations >= enough) throw new OperationFailed('refused', doubt.message);
      try {
        const test = (session: Session) =>
          selfTest(session, findKey(session, place), place.keyId, mechanisms[form.mechanism]);
        this.sessions.runOnce(place.token, test);
      } catch (testError) {
        // A mechanism that this key cannot do has not wrapped anything under it.
        if (/^CKR_(ARGUMENTS_BAD|MECHANISM|KEY_TYPE)/.test(failureOf(testError).message)) {
          throw new OperationFailed('refused', doubt.message);
        }
        throw doubt;
      }
    }
  }

  #unwrapIn(session: Session, place: KeyPlace, name: MechanismName, blob: Buffer): Sealed {
    const mechanism = mechanisms[name];
    const key = findKey(session, place);
    if (classOf(session, key) !== mechanism.keyClass) {
      throw new OperationFailed('refused', 'wrapped by another kind of key');
    }
    const localKek = mechanism.unwrap(session, key, blob, place.keyId);
    try {
      if (localKek.length !== KEY_BYTES) throw new OperationFailed('refused', 'not a local KEK');
      return this.#channel.seal(localKek);
    } finally {
      localKek.wipe();
    }
  }

  #writing(token: KeyPlace['token'], work: (session: Session) => void): undefined {
    this.sessions.runWriting(token, (session) => {
      if (!session.loggedIn) throw new OperationFailed('no-login', 'not logged in');
      work(session);
    });
    return undefined;
  }
}

/** Times that a token must say no again, with a self test that passes before each. */
const CONFIRMATIONS = 2;
/**
 * After a third of what a call may take one is enough: all of it is one call for the plugin, which takes longer ones for a
 * hang, and whoever sends damaged bytes must not have the process killed that others use.
 */
const CONFIRMATIONS_WHEN_SLOW = 1;

/** Chooses what wraps under a key: the first mechanism that nothing speaks against and that works when tried. */
function keyInfo(session: Session, key: Handle, keyId: string, wanted: MechanismName | 'auto'): KeyInfo {
  const keyClass = classOf(session, key);
  const publicKey = keyClass === 'private' ? publicKeyOf(session, key) : undefined;
  const bits = publicKey && bitsOf(publicKey);
  if (bits !== undefined && (bits < Math.min(...RSA_BITS) || bits > Math.max(...RSA_BITS))) {
    throw new OperationFailed('unusable', `key ${keyId} has ${bits} bits; RSA keys must have 2048 to 3072`);
  }
  const reasons: string[] = [];
  for (const name of mechanismNames.filter((candidate) => wanted === 'auto' || candidate === wanted)) {
    const reason = obstacle(session, key, keyClass, mechanisms[name]) ?? trial(session, key, keyId, name);
    if (reason === undefined)
      return { mechanism: name, remarks: remarksOn(session, key), ...(publicKey && { publicKey }) };
    reasons.push(`${name}: ${reason}`);
  }
  // What may pass is no verdict on the key.
  const kind = reasons.some((reason) => /CKR_(GENERAL_ERROR|FUNCTION_FAILED)/.test(reason))
    ? 'unavailable'
    : 'unusable';
  throw new OperationFailed(kind, `key ${keyId} cannot wrap (${reasons.join('; ')})`);
}

/**
 * Why a mechanism does not work. Trouble of the token's own is no reason: it is thrown, and tried again. What may be
 * either is a reason when it comes twice.
 */
function trial(session: Session, key: Handle, keyId: string, name: MechanismName, last = false): string | undefined {
  try {
    selfTest(session, key, keyId, mechanisms[name]);
    return undefined;
  } catch (error) {
    const { kind, message } = failureOf(error);
    if (
      kind === 'no-login' ||
      kind === 'forbidden' ||
      /^CKR_(DEVICE|TOKEN|SESSION|HOST|CRYPTOKI|OBJECT_HANDLE|KEY_HANDLE|OPERATION)/.test(message)
    ) {
      throw error;
    }
    return last || !isAmbiguous(error) ? message : trial(session, key, keyId, name, true);
  }
}
