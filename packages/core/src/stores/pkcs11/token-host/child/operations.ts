import { KEY_BYTES } from '../../../../envelope/limits.ts';
import { TokenFailure } from '../protocol.ts';
import type { Ask, FailureKind, KeyInfo, OperationName, Operations, Sealed, TokenSelector } from '../protocol.ts';
import { bitsOf, RSA_BITS } from '../rsa-oaep.ts';
import type { SealedChannel } from '../sealed-channel.ts';
import { codeOf, failureOf, isAboutMechanism, isAmbiguous, isBeforeThePin } from './failures.ts';
import { destroyKey, generateKey, importKey, remarksOnTrial } from './generate.ts';
import { findKey, listKeys, remarksOn } from './keys.ts';
import { mechanisms, publicKeyOf, selfTest, unsuitable } from './mechanisms.ts';
import { pkcs11 } from './pkcs11.ts';
import type { Pkcs11 } from './pkcs11.ts';
import { findToken, Sessions } from './sessions.ts';
import type { Session } from './sessions.ts';

type Perform = { [Name in OperationName]: (ask: Operations[Name]['ask']) => Operations[Name]['answer'] };

/** Performs the plugin's operations in one thread, one after the other. */
export class TokenOperations {
  readonly #sessions: Sessions;
  readonly #module: Pkcs11;
  readonly #channel: SealedChannel;

  constructor(module: Pkcs11, channel: SealedChannel) {
    this.#module = module;
    this.#channel = channel;
    this.#sessions = new Sessions(module);
  }

  get sessionsOpened(): number {
    return this.#sessions.opened;
  }

  /** @throws TokenFailure, and what the module throws */
  perform(ask: Ask): unknown {
    // The union of the asks and the record of what performs them are the same type seen from two sides.
    return (this.#operations[ask.op] as (ask: Ask) => unknown)(ask);
  }

  readonly #operations: Perform = {
    token: ({ token }) => {
      const { info } = findToken(this.#module, token);
      return { ...info, loggedIn: this.#sessions.run(token, (session) => session.loggedIn) };
    },
    login: ({ token, pin }) => this.#login(token, pin),
    key: (ask) => {
      let sessions = 0;
      return this.#sessions.run(ask.token, (session) => keyInfo(session, ask, ++sessions > 1));
    },
    wrap: (ask) => {
      const localKek = this.#channel.open(ask.key);
      try {
        return this.#sessions.run(ask.token, (session) =>
          mechanisms[ask.mechanism].wrap(session, findKey(session, ask), localKek.expose(), ask.keyId),
        );
      } finally {
        localKek.wipe();
      }
    },
    unwrap: (ask) => this.#sessions.run(ask.token, (session) => this.#unwrap(session, ask)),
    generate: (ask) => this.#writing(ask.token, (session) => generateKey(session, ask, ask.mechanisms)),
    import: (ask) => {
      const key = this.#channel.open(ask.key);
      try {
        this.#writing(ask.token, (session) => importKey(session, ask, ask.mechanisms, key.expose()));
        return undefined;
      } finally {
        key.wipe();
      }
    },
    destroy: (ask) => this.#writing(ask.token, (session) => destroyKey(session, ask)),
    trial: ({ token, mechanism }) => this.#sessions.run(token, (session) => remarksOnTrial(session, token, mechanism)),
    list: (ask) => this.#sessions.run(ask.token, (session) => listKeys(session, ask)),
  };

  /** @throws TokenFailure `not-begun` for what fails before the token looks at the PIN; what C_Login throws */
  #login(token: TokenSelector, sealedPin: Sealed): boolean {
    const pinState = { shown: false };
    try {
      // C_Login is called once, in a session that works.
      if (this.#sessions.run(token, (session) => session.loggedIn)) return false;
      return this.#sessions.runOnce(token, (session) => {
        const pin = this.#channel.open(sealedPin);
        try {
          pinState.shown = true;
          // The binding accepts only a string, which stays in this thread's heap.
          session.module.C_Login(session.handle, pkcs11.CKU_USER, pin.expose().toString());
          return true;
        } finally {
          pin.wipe();
        }
      });
    } catch (error) {
      if (!pinState.shown || isBeforeThePin(error)) throw new TokenFailure('not-begun', failureOf(error).message);
      if (codeOf(error) !== pkcs11.CKR_USER_ALREADY_LOGGED_IN) throw error;
      return false;
    }
  }

  #unwrap(session: Session, ask: Operations['unwrap']['ask']): Sealed {
    const mechanism = mechanisms[ask.mechanism];
    const key = findKey(session, ask);
    if (key.keyClass !== mechanism.keyClass) {
      throw new TokenFailure('refused', 'another kind of key has wrapped these bytes');
    }
    const blob = Buffer.from(ask.blob);
    const localKek = mechanism.unwrap(session, key, blob, ask.keyId);
    try {
      if (localKek.length !== KEY_BYTES) throw new TokenFailure('refused', 'not a local KEK');
      return this.#channel.seal(localKek, blob);
    } finally {
      localKek.wipe();
    }
  }

  #writing(token: TokenSelector, work: (session: Session) => void): undefined {
    this.#sessions.runWriting(token, (session) => {
      if (!session.loggedIn) throw new TokenFailure('no-login', 'not logged in');
      work(session);
    });
    return undefined;
  }
}

/**
 * Describes a key with the first mechanism that suits it and passes a test.
 * @param again - whether this is the second session: an ambiguous failure of a test must come twice
 */
function keyInfo(session: Session, ask: Operations['key']['ask'], again: boolean): KeyInfo {
  const key = findKey(session, ask);
  const publicKey = key.keyClass === 'private' ? publicKeyOf(session, key) : undefined;
  const bits = publicKey && bitsOf(publicKey);
  if (bits !== undefined && (bits < Math.min(...RSA_BITS) || bits > Math.max(...RSA_BITS))) {
    throw new TokenFailure('unusable', `key ${ask.keyId} has ${bits} bits; RSA keys must have 2048 to 3072`);
  }
  const reasons: string[] = [];
  let kind: FailureKind = 'unusable';
  for (const name of ask.mechanisms) {
    const mechanism = mechanisms[name];
    let reason = unsuitable(session, key, mechanism);
    try {
      if (reason === undefined) {
        selfTest(session, key, ask.keyId, mechanism);
        return { mechanism: name, remarks: remarksOn(session, key), ...(publicKey && { publicKey }) };
      }
    } catch (error) {
      if (!isAboutMechanism(error) || (!again && isAmbiguous(error))) throw error;
      if (mayPass(error)) kind = 'unavailable';
      reason = failureOf(error).message;
    }
    reasons.push(`${name}: ${reason}`);
  }
  throw new TokenFailure(kind, `key ${ask.keyId} cannot wrap (${reasons.join('; ')})`);
}

const mayPass = (error: unknown): boolean =>
  [pkcs11.CKR_GENERAL_ERROR, pkcs11.CKR_FUNCTION_FAILED].includes(codeOf(error) ?? -1);
