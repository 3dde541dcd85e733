import { isUtf8 } from 'node:buffer';
import { isAbsolute } from 'node:path';
import { KmsError } from '../../errors.ts';
import type { TokenSelector } from './token-host/protocol.ts';
import { checkPinSource } from './pin-source.ts';

/** The PKCS#11 library: an absolute path, or a name for {@link findModule}. */
export type ModuleReference = { readonly path: string } | { readonly name: string };

/** A parsed `pkcs11:` URI (RFC 7512). */
export interface Pkcs11Uri {
  readonly token: TokenSelector;
  /** CKA_LABEL of all versions of the key. */
  readonly object: string;
  /** CKA_ID, 1–64 bytes. */
  readonly id?: Buffer;
  readonly type?: 'secret-key' | 'private';
  readonly module: ModuleReference;
  /** The source of the PIN, see {@link readPin}. */
  readonly pinSource: string;
  /** The URI in canonical form without its query, for logs and `status`. */
  readonly shown: string;
}

/**
 * What stands before and behind the "?": the maximum bytes of each value after decoding (those of a token are the sizes in
 * CK_TOKEN_INFO), and the longest start of `pk11-pchar` or `pk11-qchar` (RFC 7512 §2.3).
 */
const PATH = {
  what: 'path',
  separator: ';',
  value: /^(?:[A-Za-z0-9\-._~:[\]@!$'()*+,=&]|%[0-9A-Fa-f]{2})*/,
  known: new Map([
    ['token', 32],
    ['manufacturer', 32],
    ['serial', 16],
    ['model', 16],
    ['slot-id', 16],
    ['object', 255],
    ['id', 64],
    ['type', 16],
  ]),
};
const QUERY: Part = {
  what: 'query',
  separator: '&',
  value: /^(?:[A-Za-z0-9\-._~:[\]@!$'()*+,=/?|]|%[0-9A-Fa-f]{2})*/,
  known: new Map([
    ['module-path', 4095],
    ['module-name', 64],
    ['pin-source', 4095],
  ]),
};
type Part = typeof PATH;

const MAX_URI_CHARACTERS = 16 * 1024;

/**
 * Parses a `pkcs11:` URI. Touches no disk.
 *
 * It is stricter than RFC 7512 in one point. RFC 7512 lets a consumer ignore unknown attributes, but a misspelt `pin-source`
 * or `serial` must not silently choose another PIN or token.
 *
 * @throws {@link KmsError} `ERR_KMS_INVALID_URI`; the message never repeats the value of an attribute that may hold a PIN
 */
export function parsePkcs11Uri(uri: string): Pkcs11Uri {
  if (!uri.startsWith('pkcs11:')) throw invalid('expected it to begin with "pkcs11:"');
  if (uri.length > MAX_URI_CHARACTERS) {
    throw invalid(`expected at most ${MAX_URI_CHARACTERS} characters, found ${uri.length}`);
  }
  const [, before = '', behind = ''] = /^pkcs11:([^?]*)\??(.*)$/s.exec(uri)!;
  const bytes = new Map([...readAttributes(before, PATH), ...readAttributes(behind, QUERY)]);
  const text = (name: string) => bytes.get(name)?.toString();

  const token = withoutUndefined({
    label: text('token'),
    manufacturer: text('manufacturer'),
    serial: text('serial'),
    model: text('model'),
    slotId: parseSlotId(text('slot-id')),
  });
  if (Object.keys(token).length === 0) {
    throw invalid(
      'expected the token to be named by token, serial, model, manufacturer or slot-id, found none of them',
    );
  }
  const object = text('object');
  if (object === undefined) throw invalid('expected the key to be named by object (its label), found no object');
  const pinSource = text('pin-source');
  if (pinSource === undefined) {
    throw invalid('expected pin-source=file:/path, env:NAME or credential:NAME in the query, found no pin-source');
  }
  const parsed = { token, object, ...withoutUndefined({ id: bytes.get('id'), type: parseType(text('type')) }) };
  return { ...parsed, module: parseModule(text('module-path'), text('module-name')), pinSource, shown: format(parsed) };
}

/** Checks each attribute before it reads the next one: what follows a PIN that contains a `&` is never shown. */
function readAttributes(text: string, part: Part): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  const attributes = text === '' ? [] : text.split(part.separator);
  for (const [index, attribute] of attributes.entries()) {
    const [, name, raw] = /^([A-Za-z0-9_-]{1,40})=(.*)$/s.exec(attribute) ?? [];
    if (name === undefined || raw === undefined) {
      // Not shown: it may be a part of a secret with an unencoded separator.
      throw invalid(`expected NAME=VALUE as attribute ${index + 1} of the ${part.what}, found something else`);
    }
    const maxBytes = part.known.get(name);
    if (maxBytes === undefined) throw unknownAttribute(name, part);
    if (found.has(name)) throw invalid(`expected ${name} once, found it twice`);
    found.set(name, decode(name, raw, maxBytes, part));
  }
  return found;
}

function decode(name: string, raw: string, maxBytes: number, part: Part): Buffer {
  const good = part.value.exec(raw)![0].length;
  if (good < raw.length) {
    throw invalid(`${name}: expected a percent-encoded character (%20 for a blank), found another at ${good + 1}`);
  }
  const bytes = Buffer.from(
    raw.replace(/%(..)/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16))),
    'latin1',
  );
  if (bytes.length === 0) throw invalid(`${name}: expected a value, found nothing`);
  if (bytes.length > maxBytes) throw invalid(`${name}: expected at most ${maxBytes} bytes, found ${bytes.length}`);
  if (name === 'id') return bytes;
  if (bytes.includes(0)) throw invalid(`${name}: expected text, found a zero byte`);
  if (!isUtf8(bytes)) throw invalid(`${name}: expected UTF-8, found other bytes`);
  if (name === 'pin-source') checkPinSource(bytes.toString());
  return bytes;
}

function unknownAttribute(name: string, part: Part): KmsError {
  if (/^(x-)?pin-?value$/i.test(name)) {
    return invalid(
      'pin-value is refused, because configurations end up in backups and logs; ' +
        'put the PIN into a file of mode 0600 and name it: pin-source=file:/path',
    );
  }
  const other = part === PATH ? QUERY : PATH;
  const known = [...part.known.keys()].join(', ');
  if (!other.known.has(name)) return invalid(`expected one of ${known} in the ${part.what}, found ${name}`);
  const place = other === QUERY ? 'behind the "?", the attributes there divided by "&"' : 'before the "?"';
  return invalid(`expected ${name} ${place}`);
}

function parseSlotId(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const slotId = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(slotId)) return slotId;
  throw invalid(`slot-id: expected a decimal number, found ${JSON.stringify(text)}`);
}

function parseType(text: string | undefined): Pkcs11Uri['type'] {
  if (text === undefined || text === 'secret-key' || text === 'private') return text;
  throw invalid(`type: expected secret-key or private, found ${JSON.stringify(text)}`);
}

function parseModule(path: string | undefined, name: string | undefined): ModuleReference {
  if (path !== undefined && name !== undefined) throw invalid('expected module-path or module-name, found both');
  if (path !== undefined) {
    if (!isAbsolute(path)) throw invalid(`module-path: expected an absolute path, found ${JSON.stringify(path)}`);
    return { path };
  }
  if (name === undefined) throw invalid('expected module-path or module-name in the query, found neither');
  if (!/^[A-Za-z0-9_.-]+$/.test(name)) {
    throw invalid(`module-name: expected only A-Z, a-z, 0-9, "_", "." and "-", found ${JSON.stringify(name)}`);
  }
  return { name };
}

function format({ token, object, id, type }: Pick<Pkcs11Uri, 'token' | 'object' | 'id' | 'type'>): string {
  const { label, slotId, ...texts } = token;
  const attributes = withoutUndefined({ token: label, ...texts, 'slot-id': slotId?.toString(), object });
  const parts = Object.entries(attributes).map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
  // RFC 7512 §2.3: all bytes of an id are percent-encoded.
  if (id) parts.push(`id=${id.toString('hex').toUpperCase().replaceAll(/../g, '%$&')}`);
  if (type) parts.push(`type=${type}`);
  return `pkcs11:${parts.join(';')}`;
}

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

function withoutUndefined<T extends object>(object: T): Defined<T> {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as Defined<T>;
}

function invalid(problem: string): KmsError {
  return new KmsError('ERR_KMS_INVALID_URI', `pkcs11: URI: ${problem}`);
}
