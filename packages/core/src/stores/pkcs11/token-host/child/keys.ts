import { MAX_LISTED_KEYS } from '../answers.ts';
import { TokenFailure } from '../protocol.ts';
import type { KeySelector, LabelSelector } from '../protocol.ts';
import { pkcs11 } from './pkcs11.ts';
import type { Handle, Template } from './pkcs11.ts';
import type { Key, Session } from './sessions.ts';

/** Where the versions of a key may be: a key that wraps is a secret key, or the private half of a pair. */
const CLASSES = [
  { type: 'secret-key', keyClass: 'secret', objectClass: pkcs11.CKO_SECRET_KEY },
  { type: 'private', keyClass: 'private', objectClass: pkcs11.CKO_PRIVATE_KEY },
] as const;

/**
 * Returns one version of a key. The token is asked once in each session.
 * @throws TokenFailure `no-login`; `no-key` where a logged-in search finds none; `unusable` for several
 */
export function findKey(session: Session, selector: KeySelector): Key {
  const { label, keyId, type } = selector;
  const name = `${type ?? ''} ${label} ${keyId}`;
  const known = session.keys.get(name);
  if (known) return known;
  const found = search(session, selector, keyId);
  const [key] = found;
  if (!key) throw new TokenFailure('no-key', `no key with label "${label}" and id ${keyId} in the token`);
  if (found.length > 1) {
    throw new TokenFailure('unusable', `${found.length} keys with label "${label}" and id ${keyId}`);
  }
  session.keys.set(name, key);
  return key;
}

/** Characters of an id that are given: ours have at most 64. */
const MAX_ID = 80;

/** Returns the ids of all keys with this label. An id that is no text of ours is given in hexadecimal digits. */
export function listKeys(session: Session, selector: LabelSelector): string[] {
  const keys = search(session, selector);
  if (keys.length > MAX_LISTED_KEYS) {
    const what = `${keys.length} keys with label "${selector.label}" in the token; at most ${MAX_LISTED_KEYS} are listed`;
    throw new TokenFailure('unusable', what);
  }
  return keys.map((key) => {
    const id = bytesOf(session, key, pkcs11.CKA_ID);
    const text = id.toString('latin1');
    return (/^[\x21-\x7e]+$/.test(text) ? text : id.toString('hex')).slice(0, MAX_ID);
  });
}

/** Private objects are invisible without a login, so a search then proves nothing. */
function search(session: Session, { label, type }: LabelSelector, keyId?: string): Key[] {
  if (!session.loggedIn) throw new TokenFailure('no-login', 'not logged in');
  return CLASSES.filter((one) => type === undefined || one.type === type).flatMap(({ keyClass, objectClass }) =>
    findObjects(session, objectClass, label, keyId).map((handle) => ({ keyClass, handle })),
  );
}

export function findObjects(
  { module, handle }: Session,
  objectClass: number,
  label: string,
  keyId: string | undefined,
): Handle[] {
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
}

export function bytesOf({ module, handle }: Session, object: { readonly handle: Handle }, attribute: number): Buffer {
  return module.C_GetAttributeValue(handle, object.handle, [{ type: attribute }])[0]!.value;
}

/** Returns a boolean attribute, or `undefined` where the token does not have it. */
export function flagOf(session: Session, key: Key, attribute: number): boolean | undefined {
  try {
    return bytesOf(session, key, attribute)[0] === 1;
  } catch {
    return undefined;
  }
}

const EXPECTED = [
  ['CKA_EXTRACTABLE', false, 'the key can leave the token'],
  ['CKA_SENSITIVE', true, 'the key can be read in the clear'],
  ['CKA_NEVER_EXTRACTABLE', true, 'the key could leave the token at some time'],
  ['CKA_LOCAL', true, 'the key was not made in the token, so a copy of it may exist'],
] as const;

/** Returns the attributes that an operator should know about, with the reason. */
export function remarksOn(session: Session, key: Key): string[] {
  return EXPECTED.filter(([name, wanted]) => flagOf(session, key, pkcs11[name]) === !wanted).map(
    ([name, wanted, why]) => `${name} is ${String(!wanted)}: ${why}`,
  );
}
