import type { KeyPlace } from '../protocol.ts';
import type { MechanismName } from '../mechanism-name.ts';
import { isRsa, mechanismNames } from '../mechanism-name.ts';
import { RSA_BITS } from '../rsa-oaep.ts';
import { OperationFailed } from './failures.ts';
import { mechanisms } from './mechanisms.ts';
import { nameOf, pkcs11 } from './pkcs11.ts';
import type { Template } from './pkcs11.ts';
import type { Session } from './sessions.ts';

/**
 * Makes a key in the token: sensitive, not extractable, and with no other use than its mechanism needs.
 * @throws OperationFailed `unusable` where the token can do none of what is asked
 */
export function generateKey(session: Session, place: KeyPlace, wanted: MechanismName | 'auto'): void {
  const offered = session.module.C_GetMechanismList(session.slot);
  const name = mechanismNames.find(
    (candidate) => (wanted === 'auto' || candidate === wanted) && canMake(offered, candidate),
  );
  if (!name) throw new OperationFailed('unusable', `the token can make no key for ${wanted}`);
  if (isRsa(name)) generatePair(session, place);
  else generateSecret(session, place, name);
}

function canMake(offered: readonly number[], name: MechanismName): boolean {
  const generation = isRsa(name) ? pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN : pkcs11.CKM_AES_KEY_GEN;
  return offered.includes(generation) && offered.includes(mechanisms[name].ckm);
}

function generateSecret({ module, handle }: Session, place: KeyPlace, name: MechanismName): void {
  const { usages } = mechanisms[name];
  module.C_GenerateKey(handle, { mechanism: pkcs11.CKM_AES_KEY_GEN }, [
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
    { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_AES },
    { type: pkcs11.CKA_VALUE_LEN, value: 32 },
    ...identity(place, true),
    { type: pkcs11.CKA_SENSITIVE, value: true },
    { type: pkcs11.CKA_EXTRACTABLE, value: false },
    ...(['CKA_ENCRYPT', 'CKA_DECRYPT', 'CKA_WRAP', 'CKA_UNWRAP'] as const).map((usage) => ({
      type: pkcs11[usage],
      value: usages.includes(usage),
    })),
    { type: pkcs11.CKA_SIGN, value: false },
    { type: pkcs11.CKA_VERIFY, value: false },
  ]);
}

function generatePair({ module, handle }: Session, place: KeyPlace): void {
  const publicTemplate = (bits: number): Template => [
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PUBLIC_KEY },
    { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_RSA },
    { type: pkcs11.CKA_MODULUS_BITS, value: bits },
    { type: pkcs11.CKA_PUBLIC_EXPONENT, value: Buffer.of(1, 0, 1) },
    // No usages: it is only used outside the token, and tpm2-pkcs11 fails for those of one half that the other has not.
    ...identity(place, false),
  ];
  const privateTemplate: Template = [
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PRIVATE_KEY },
    { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_RSA },
    ...identity(place, true),
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
      // A TPM says only here how large its keys may be, and not always by the right name.
      if (nameOf(error) === undefined || index === RSA_BITS.length - 1) throw error;
    }
  }
}

const identity = ({ label, keyId }: KeyPlace, secret: boolean): Template => [
  { type: pkcs11.CKA_TOKEN, value: true },
  { type: pkcs11.CKA_PRIVATE, value: secret },
  { type: pkcs11.CKA_LABEL, value: Buffer.from(label) },
  { type: pkcs11.CKA_ID, value: Buffer.from(keyId) },
];

/** Destroys a version, its public half too. Succeeds where it is gone already. */
export function destroyKey({ module, handle }: Session, { label, keyId }: KeyPlace): void {
  for (const objectClass of [pkcs11.CKO_SECRET_KEY, pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_PUBLIC_KEY]) {
    module.C_FindObjectsInit(handle, [
      { type: pkcs11.CKA_CLASS, value: objectClass },
      { type: pkcs11.CKA_LABEL, value: Buffer.from(label) },
      { type: pkcs11.CKA_ID, value: Buffer.from(keyId) },
    ]);
    const found = module.C_FindObjects(handle, 10);
    module.C_FindObjectsFinal(handle);
    for (const object of found) module.C_DestroyObject(handle, object);
  }
}
