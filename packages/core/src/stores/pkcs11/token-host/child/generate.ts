import { isRsa } from '../mechanism-name.ts';
import type { MechanismName } from '../mechanism-name.ts';
import { TokenFailure } from '../protocol.ts';
import type { KeySelector, TokenSelector } from '../protocol.ts';
import { RSA_BITS } from '../rsa-oaep.ts';
import { codeOf, failureOf } from './failures.ts';
import { findObjects, remarksOn } from './keys.ts';
import { mechanisms } from './mechanisms.ts';
import { pkcs11 } from './pkcs11.ts';
import type { Handle, Template } from './pkcs11.ts';
import type { Session } from './sessions.ts';

/**
 * Makes a key in the token for the first of the mechanisms that the token offers: sensitive, not extractable, and with no other
 * use than the mechanism needs.
 * @throws TokenFailure `unusable` where the token offers none of them
 */
export function generateKey(session: Session, selector: KeySelector, names: readonly MechanismName[]): void {
  const offered = session.module.C_GetMechanismList(session.slot);
  const name = names.find((candidate) => canMake(offered, candidate));
  if (!name) throw new TokenFailure('unusable', `the token can make no key for ${names.join(', ')}`);
  if (isRsa(name)) generatePair(session, selector);
  else generateSecret(session, selector, name, true);
}

/** Makes a secret key as {@link generateKey} does, but not to stay. @returns what {@link remarksOn} says of it */
export function remarksOnTrial(session: Session, token: TokenSelector, name: MechanismName): string[] {
  const { module, handle } = session;
  const made = generateSecret(session, { token, label: 'teapot-kms trial', keyId: 'trial' }, name, false);
  try {
    return remarksOn(session, { handle: made, keyClass: 'secret' });
  } finally {
    module.C_DestroyObject(handle, made);
  }
}

function canMake(offered: readonly number[], name: MechanismName): boolean {
  const generation = isRsa(name) ? pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN : pkcs11.CKM_AES_KEY_GEN;
  return offered.includes(generation) && offered.includes(mechanisms[name].ckm);
}

function generateSecret(session: Session, selector: KeySelector, name: MechanismName, stays: boolean): Handle {
  return session.module.C_GenerateKey(session.handle, { mechanism: pkcs11.CKM_AES_KEY_GEN }, [
    ...secretTemplate(selector, name, stays),
    { type: pkcs11.CKA_VALUE_LEN, value: 32 },
  ]);
}

/**
 * Puts a key of 32 bytes into the token, with the attributes that {@link generateKey} gives, for the first of the mechanisms that the token
 * offers.
 * @throws TokenFailure `unusable` where the token takes no key in the clear, as in FIPS mode and a TPM; for a key of this id that is there
 */
export function importKey(
  session: Session,
  selector: KeySelector,
  names: readonly MechanismName[],
  value: Buffer,
): void {
  const { module, handle, slot } = session;
  if (findObjects(session, pkcs11.CKO_SECRET_KEY, selector.label, selector.keyId).length > 0) {
    throw new TokenFailure('unusable', `the token has a key ${selector.keyId} already`);
  }
  const offered = module.C_GetMechanismList(slot);
  const name = names.find((candidate) => !isRsa(candidate) && offered.includes(mechanisms[candidate].ckm));
  if (!name) throw new TokenFailure('unusable', `the token can use no AES key for ${names.join(', ')}`);
  try {
    module.C_CreateObject(handle, [...secretTemplate(selector, name, true), { type: pkcs11.CKA_VALUE, value }]);
  } catch (error) {
    if (codeOf(error) === undefined || !REFUSALS.includes(codeOf(error)!)) throw error;
    throw new TokenFailure('unusable', `the token takes no key in the clear (${failureOf(error).message})`);
  }
}

/** How tokens say that they take no key of this kind, or not in the clear. */
const REFUSALS = [
  pkcs11.CKR_FUNCTION_NOT_SUPPORTED,
  pkcs11.CKR_TEMPLATE_INCONSISTENT,
  pkcs11.CKR_TEMPLATE_INCOMPLETE,
  pkcs11.CKR_ATTRIBUTE_READ_ONLY,
  pkcs11.CKR_ATTRIBUTE_TYPE_INVALID,
  pkcs11.CKR_ATTRIBUTE_VALUE_INVALID,
];

function secretTemplate(selector: KeySelector, name: MechanismName, stays: boolean): Template {
  const { usages } = mechanisms[name];
  return [
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
    { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_AES },
    ...identity(selector, true, stays),
    { type: pkcs11.CKA_SENSITIVE, value: true },
    { type: pkcs11.CKA_EXTRACTABLE, value: false },
    ...(['CKA_ENCRYPT', 'CKA_DECRYPT', 'CKA_WRAP', 'CKA_UNWRAP'] as const).map((usage) => ({
      type: pkcs11[usage],
      value: usages.includes(usage),
    })),
    { type: pkcs11.CKA_SIGN, value: false },
    { type: pkcs11.CKA_VERIFY, value: false },
  ];
}

function generatePair({ module, handle }: Session, selector: KeySelector): void {
  const publicTemplate = (bits: number): Template => [
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PUBLIC_KEY },
    { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_RSA },
    { type: pkcs11.CKA_MODULUS_BITS, value: bits },
    { type: pkcs11.CKA_PUBLIC_EXPONENT, value: Buffer.of(1, 0, 1) },
    // No usages: the public key is only used outside the token, and tpm2-pkcs11 fails for a usage that the other half has not.
    ...identity(selector, false, true),
  ];
  const privateTemplate: Template = [
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PRIVATE_KEY },
    { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_RSA },
    ...identity(selector, true, true),
    { type: pkcs11.CKA_SENSITIVE, value: true },
    { type: pkcs11.CKA_EXTRACTABLE, value: false },
    { type: pkcs11.CKA_DECRYPT, value: true },
    { type: pkcs11.CKA_SIGN, value: false },
    { type: pkcs11.CKA_UNWRAP, value: false },
  ];
  const mechanism = { mechanism: pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN };
  for (const [index, bits] of RSA_BITS.entries()) {
    try {
      module.C_GenerateKeyPair(handle, mechanism, publicTemplate(bits), privateTemplate);
      return;
    } catch (error) {
      // A TPM reports only here how large its keys may be, and not always by the right code.
      if (codeOf(error) === undefined || index === RSA_BITS.length - 1) throw error;
    }
  }
}

const identity = ({ label, keyId }: KeySelector, secret: boolean, stays: boolean): Template => [
  { type: pkcs11.CKA_TOKEN, value: stays },
  { type: pkcs11.CKA_PRIVATE, value: secret },
  { type: pkcs11.CKA_LABEL, value: Buffer.from(label) },
  { type: pkcs11.CKA_ID, value: Buffer.from(keyId) },
];

/** Destroys a version of a key, with its public half. Succeeds where it is gone already. */
export function destroyKey(session: Session, { label, keyId }: KeySelector): void {
  for (const objectClass of [pkcs11.CKO_SECRET_KEY, pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_PUBLIC_KEY]) {
    for (const object of findObjects(session, objectClass, label, keyId)) {
      session.module.C_DestroyObject(session.handle, object);
    }
  }
}
