import type { KeyPlace } from '../protocol.ts';
import { OperationFailed } from './failures.ts';
import { pkcs11 } from './pkcs11.ts';
import type { Handle, Template } from './pkcs11.ts';
import type { KeyClass, Session } from './sessions.ts';

/** The handle of a version of a key. @throws OperationFailed `no-login`, or `no-key` once a logged-in search found none */
export function findKey(session: Session, place: KeyPlace): Handle {
  return session.key(`${place.type ?? ''} ${place.label} ${place.keyId}`, () => {
    const found = search(session, place);
    if (found.length === 1) return found[0]!;
    if (found.length > 1) {
      throw new OperationFailed('unusable', `${found.length} keys with label "${place.label}" and id ${place.keyId}`);
    }
    throw new OperationFailed('no-key', `no key with label "${place.label}" and id ${place.keyId} in the token`);
  });
}

/** The ids of all keys with this label; those whose id is no text of ours as hexadecimal digits. */
export function listKeys(session: Session, place: Omit<KeyPlace, 'keyId'>): string[] {
  return search(session, place).map((handle) => {
    const id = bytesOf(session, handle, pkcs11.CKA_ID);
    const text = id.toString('latin1');
    return /^[\x21-\x7e]+$/.test(text) ? text : id.toString('hex');
  });
}

/** Without a login private objects are invisible, so nothing may be concluded from a search then. */
function search(session: Session, { label, keyId, type }: Omit<KeyPlace, 'keyId'> & { keyId?: string }): Handle[] {
  if (!session.loggedIn) throw new OperationFailed('no-login', 'not logged in');
  const { module, handle } = session;
  const classes = { 'secret-key': pkcs11.CKO_SECRET_KEY, private: pkcs11.CKO_PRIVATE_KEY };
  return (type ? [classes[type]] : Object.values(classes)).flatMap((objectClass) => {
    const template: Template = [
      { type: pkcs11.CKA_CLASS, value: objectClass },
      { type: pkcs11.CKA_LABEL, value: Buffer.from(label) },
    ];
    if (keyId !== undefined) template.push({ type: pkcs11.CKA_ID, value: Buffer.from(keyId) });
    const found: Handle[] = [];
    module.C_FindObjectsInit(handle, template);
    try {
      for (let some = module.C_FindObjects(handle, 100); some.length > 0; some = module.C_FindObjects(handle, 100)) {
        found.push(...some);
      }
    } finally {
      module.C_FindObjectsFinal(handle);
    }
    return found;
  });
}

export function bytesOf(session: Session, key: Handle, attribute: number): Buffer {
  return session.module.C_GetAttributeValue(session.handle, key, [{ type: attribute }])[0]!.value;
}

/** A boolean attribute; `undefined` where the token does not have it. */
export function flagOf(session: Session, key: Handle, attribute: number): boolean | undefined {
  try {
    return bytesOf(session, key, attribute)[0] === 1;
  } catch {
    return undefined;
  }
}

/** Asked once for each handle: with a token on a network it would double what an unwrap takes. */
export function classOf(session: Session, key: Handle): KeyClass {
  let keyClass = session.classes.get(key);
  if (!keyClass) {
    const objectClass = Number(bytesOf(session, key, pkcs11.CKA_CLASS).readBigUInt64LE());
    keyClass = objectClass === pkcs11.CKO_SECRET_KEY ? 'secret' : 'private';
    session.classes.set(key, keyClass);
  }
  return keyClass;
}

/** What an operator would want to be otherwise. */
export function remarksOn(session: Session, key: Handle): string[] {
  const remarks: string[] = [];
  const expect = (
    name: 'CKA_EXTRACTABLE' | 'CKA_SENSITIVE' | 'CKA_NEVER_EXTRACTABLE' | 'CKA_LOCAL',
    wanted: boolean,
    why: string,
  ) => {
    if (flagOf(session, key, pkcs11[name]) === !wanted) remarks.push(`${name} is ${String(!wanted)}: ${why}`);
  };
  expect('CKA_EXTRACTABLE', false, 'the key can leave the token');
  expect('CKA_SENSITIVE', true, 'the key can be read in the clear');
  expect('CKA_NEVER_EXTRACTABLE', true, 'the key could leave the token at some time');
  expect('CKA_LOCAL', true, 'the key was not made in the token, so a copy of it may exist');
  return remarks;
}
