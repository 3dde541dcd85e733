/** The process that `token-objects.ts` starts: one {@link TokenRequest} on standard input, the answer on standard output. */
import { text } from 'node:stream/consumers';
import pkcs11js from 'pkcs11js';
import type { Handle, PKCS11, Template } from 'pkcs11js';
import type { TokenObject, TokenRequest } from './token-objects.ts';

const CLASSES = new Map<number, TokenObject['class']>([
  [pkcs11js.CKO_SECRET_KEY, 'secret'],
  [pkcs11js.CKO_PRIVATE_KEY, 'private'],
  [pkcs11js.CKO_PUBLIC_KEY, 'public'],
]);

const withId = (hex: string): Template => [{ type: pkcs11js.CKA_ID, value: Buffer.from(hex, 'hex') }];

function find(p11: PKCS11, session: Handle, template: Template): Handle[] {
  p11.C_FindObjectsInit(session, template);
  const found: Handle[] = [];
  for (let next = p11.C_FindObjects(session); next !== null; next = p11.C_FindObjects(session)) found.push(next);
  p11.C_FindObjectsFinal(session);
  return found;
}

function attribute(p11: PKCS11, session: Handle, object: Handle, type: number): Buffer | undefined {
  try {
    return p11.C_GetAttributeValue(session, object, [{ type }])[0]?.value;
  } catch (error) {
    if ((error as pkcs11js.Pkcs11Error).code === pkcs11js.CKR_ATTRIBUTE_TYPE_INVALID) return undefined;
    throw error;
  }
}

function describe(p11: PKCS11, session: Handle, object: Handle): TokenObject {
  const read = (type: number) => attribute(p11, session, object, type);
  const sensitive = read(pkcs11js.CKA_SENSITIVE);
  const extractable = read(pkcs11js.CKA_EXTRACTABLE);
  return {
    class: CLASSES.get(read(pkcs11js.CKA_CLASS)?.readUInt32LE() ?? -1) ?? 'other',
    id: (read(pkcs11js.CKA_ID) ?? Buffer.alloc(0)).toString('hex'),
    label: (read(pkcs11js.CKA_LABEL) ?? Buffer.alloc(0)).toString(),
    ...(sensitive && { sensitive: sensitive[0] === 1 }),
    ...(extractable && { extractable: extractable[0] === 1 }),
  };
}

function answer(p11: PKCS11, session: Handle, request: TokenRequest): unknown {
  switch (request.command) {
    case 'list':
      return find(p11, session, []).map((object) => describe(p11, session, object));
    case 'delete': {
      const objects = find(p11, session, withId(request.id));
      for (const object of objects) p11.C_DestroyObject(session, object);
      return objects.length;
    }
    case 'init-pin':
      p11.C_InitPIN(session, request.userPin);
      return null;
    case 'import': {
      const { id, label, extractable = false } = request.key;
      p11.C_CreateObject(session, [
        { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_SECRET_KEY },
        { type: pkcs11js.CKA_KEY_TYPE, value: pkcs11js.CKK_AES },
        { type: pkcs11js.CKA_TOKEN, value: true },
        { type: pkcs11js.CKA_PRIVATE, value: true },
        { type: pkcs11js.CKA_SENSITIVE, value: !extractable },
        { type: pkcs11js.CKA_EXTRACTABLE, value: extractable },
        { type: pkcs11js.CKA_ID, value: Buffer.from(id, 'hex') },
        { type: pkcs11js.CKA_LABEL, value: label },
        { type: pkcs11js.CKA_VALUE, value: Buffer.from(request.valueHex, 'hex') },
        ...[pkcs11js.CKA_ENCRYPT, pkcs11js.CKA_DECRYPT, pkcs11js.CKA_WRAP, pkcs11js.CKA_UNWRAP].map((type) => ({
          type,
          value: true,
        })),
      ]);
      return null;
    }
  }
}

const request = JSON.parse(await text(process.stdin)) as TokenRequest;
const p11 = new pkcs11js.PKCS11();
p11.load(request.module);
const parameters = request.command === 'init-pin' ? request.libraryParameters : undefined;
// The binding cuts off the last character.
p11.C_Initialize(parameters === undefined ? undefined : { libraryParameters: `${parameters} ` });
const slot = p11
  .C_GetSlotList(true)
  .find((candidate) => p11.C_GetTokenInfo(candidate).label.trimEnd() === request.label);
if (!slot) throw new Error(`no token ${request.label}`);
const session = p11.C_OpenSession(slot, pkcs11js.CKF_SERIAL_SESSION | pkcs11js.CKF_RW_SESSION);
p11.C_Login(session, request.command === 'init-pin' ? pkcs11js.CKU_SO : pkcs11js.CKU_USER, request.pin);
console.log(JSON.stringify(answer(p11, session, request)));
p11.C_Finalize();
