import { assertNoSecret, rejectsWithCode, rememberSecret } from '@teapot-kms/testing';
import { randomBytes, randomInt } from 'node:crypto';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { KmsError } from '../../../src/errors.ts';
import { parsePkcs11Uri } from '../../../src/stores/pkcs11/uri.ts';
import { fuzz, fuzzRuns } from '../../support/fuzz.ts';

const QUERY = 'module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/teapot-kms/pin';
const parse = (path: string, query = QUERY) => parsePkcs11Uri(`pkcs11:${path}?${query}`);

/** Every byte as %XX. */
const escaped = (bytes: Buffer) => bytes.toString('hex').replaceAll(/../g, '%$&');

test('the least that is needed', () => {
  assert.equal(parse('token=teapot;object=kek'), {
    token: { label: 'teapot' },
    object: 'kek',
    module: { path: '/usr/lib/softhsm/libsofthsm2.so' },
    pinSource: 'file:/etc/teapot-kms/pin',
    shown: 'pkcs11:token=teapot;object=kek',
  });
});

test('all that is known, in any order, with a canonical form that has no query', () => {
  const path =
    'type=secret-key;id=%01%Ab;object=a%20key;slot-id=0042;model=M%2f1;serial=0123456789abcdef;manufacturer=Snake%20Oil,%20Inc.;token=T%c3%a9';
  assert.equal(parse(path, 'pin-source=env:PIN&module-name=softhsm2'), {
    token: { label: 'Té', manufacturer: 'Snake Oil, Inc.', serial: '0123456789abcdef', model: 'M/1', slotId: 42 },
    object: 'a key',
    id: Buffer.from([1, 0xab]),
    type: 'secret-key',
    module: { name: 'softhsm2' },
    pinSource: 'env:PIN',
    shown:
      'pkcs11:token=T%C3%A9;manufacturer=Snake%20Oil%2C%20Inc.;serial=0123456789abcdef;model=M%2F1;slot-id=42;object=a%20key;id=%01%AB;type=secret-key',
  });
});

test('the characters that RFC 7512 lets stand as they are', () => {
  const { token } = parse(`token=-._~:[]@!$'()*+,=&;object=k`);
  assert.is(token.label, `-._~:[]@!$'()*+,=&`);
  assert.equal(parse('token=t;object=k', 'module-path=/a?b|c=d&pin-source=/p').module, { path: '/a?b|c=d' });
});

for (const attribute of ['token=t', 'manufacturer=m', 'serial=s', 'model=m', 'slot-id=1']) {
  test(`a token may be named by ${attribute}`, () => {
    assert.is(Object.keys(parse(`${attribute};object=k`).token).length, 1);
  });
}

const blanks = (bytes: number) => '%20'.repeat(bytes);

const refused: readonly (readonly [what: string, path: string, query: string, message: RegExp])[] = [
  ['no token', 'object=k', QUERY, /token, serial, model, manufacturer or slot-id, found none/],
  ['no object', 'token=t', QUERY, /found no object/],
  ['no module', 'token=t;object=k', 'pin-source=/p', /module-path or module-name in the query, found neither/],
  ['two modules', 'token=t;object=k', `${QUERY}&module-name=x`, /module-path or module-name, found both/],
  ['no PIN', 'token=t;object=k', 'module-path=/m', /found no pin-source/],
  ['a relative module', 'token=t;object=k', 'module-path=m.so&pin-source=/p', /absolute path, found "m.so"/],
  ['a module name with a slash', 'token=t;object=k', 'module-name=../m&pin-source=/p', /module-name: .* found "..\/m"/],
  [
    'a command for the PIN',
    'token=t;object=k',
    'module-path=/m&pin-source=|cat',
    /pin-source: .* not taken from a command/,
  ],
  ['an attribute twice', 'token=t;token=t;object=k', QUERY, /expected token once, found it twice/],
  ['an attribute of the query twice', 'token=t;object=k', `${QUERY}&pin-source=/q`, /expected pin-source once/],
  ['an unknown attribute', 'token=t;lable=x;object=k', QUERY, /in the path, found lable/],
  [
    'an attribute of RFC 7512 that means nothing here',
    'library-version=3;token=t;object=k',
    QUERY,
    /found library-version/,
  ],
  ['an unknown vendor attribute', 'token=t;object=k', `${QUERY}&x-pool=3`, /in the query, found x-pool/],
  ['a name of Object.prototype', 'constructor=t;object=k', QUERY, /found constructor/],
  [
    'an attribute of the query in the path',
    'token=t;object=k;module-path=%2Fm',
    QUERY,
    /expected module-path behind the "\?"/,
  ],
  ['an attribute of the path in the query', 'object=k', `${QUERY}&token=t`, /expected token before the "\?"/],
  ['a name in capitals', 'TOKEN=t;object=k', QUERY, /found TOKEN/],
  ['a separator at the end', 'token=t;object=k;', QUERY, /NAME=VALUE as attribute 3 of the path/],
  ['a value without name', 'token=t;=x;object=k', QUERY, /NAME=VALUE as attribute 2 of the path/],
  ['an empty value', 'token=;object=k', QUERY, /token: expected a value, found nothing/],
  ['a blank', 'token=a b;object=k', QUERY, /token: expected a percent-encoded character .* at 2/],
  ['a letter beyond ASCII', 'token=é;object=k', QUERY, /token: expected a percent-encoded character .* at 1/],
  ['a slash in the path', 'token=a/b;object=k', QUERY, /token: expected a percent-encoded character/],
  ['a fragment', 'token=t;object=k', `${QUERY}#x`, /pin-source: expected a percent-encoded character/],
  ['an escape of one digit', 'token=%4;object=k', QUERY, /token: expected a percent-encoded character .* at 1/],
  ['an escape that is none', 'token=ab%zz;object=k', QUERY, /token: expected a percent-encoded character .* at 3/],
  ['bytes that are not UTF-8', 'token=%ff;object=k', QUERY, /token: expected UTF-8/],
  ['a surrogate', 'token=%ed%a0%80;object=k', QUERY, /token: expected UTF-8/],
  ['a zero byte', 'token=a%00;object=k', QUERY, /token: expected text, found a zero byte/],
  ['a zero byte in a path', 'token=t;object=k', 'module-path=/m%00&pin-source=/p', /module-path: .* zero byte/],
  ['a long label', `token=${blanks(33)};object=k`, QUERY, /token: expected at most 32 bytes, found 33/],
  ['a long manufacturer', `manufacturer=${blanks(33)};object=k`, QUERY, /manufacturer: expected at most 32 bytes/],
  ['a long serial', `serial=${blanks(17)};object=k`, QUERY, /serial: expected at most 16 bytes, found 17/],
  ['a long model', `model=${blanks(17)};object=k`, QUERY, /model: expected at most 16 bytes, found 17/],
  ['a long object', `token=t;object=${blanks(256)}`, QUERY, /object: expected at most 255 bytes, found 256/],
  ['a long id', `token=t;object=k;id=${blanks(65)}`, QUERY, /id: expected at most 64 bytes, found 65/],
  ['a slot that is no number', 'slot-id=0x1;object=k', QUERY, /slot-id: expected a decimal number, found "0x1"/],
  ['a slot beyond exact numbers', 'slot-id=9007199254740993;object=k', QUERY, /slot-id: expected a decimal number/],
  ['another type', 'token=t;object=k;type=public', QUERY, /type: expected secret-key or private, found "public"/],
  ['a URI beyond all measure', `token=${'%20'.repeat(6000)};object=k`, QUERY, /expected at most 16384 characters/],
];
for (const [what, path, query, message] of refused) {
  test(`refused: ${what}`, async () => {
    const error = await rejectsWithCode(() => parse(path, query), 'ERR_KMS_INVALID_URI');
    assert.match(error.message, message);
  });
}

test('refused: another scheme, and capitals', async () => {
  for (const uri of ['', 'file:/x', 'PKCS11:token=t;object=k', 'pkcs11', ' pkcs11:token=t']) {
    await rejectsWithCode(() => parsePkcs11Uri(uri), 'ERR_KMS_INVALID_URI');
  }
});

test('values of the greatest length are taken', () => {
  const parsed = parse(`token=${blanks(32)};serial=${blanks(16)};object=${blanks(255)};id=${'%00'.repeat(64)}`);
  assert.is(parsed.token.label?.length, 32);
  assert.is(parsed.object.length, 255);
  assert.equal(parsed.id, Buffer.alloc(64));
});

test('pin-value is refused with what to use instead, and the PIN is not shown', async () => {
  const pin = 'hunter2-4711';
  rememberSecret(Buffer.from(pin));
  const uris = [
    `token=t;object=k?module-path=/m&pin-value=${pin}`,
    `token=t;object=k;pin-value=${pin}?module-path=/m`,
    `token=t;object=k?pin-value=${pin}&pin-value=${pin}`,
    `token=t;object=k?x-pin-value=${pin}`,
    `token=t;object=k?PIN-VALUE=${pin}`,
    `pin-value=a?${pin}`,
    `token=t;object=k?module-path=/m&pin-value=x&${pin}=x`,
    `token=t;object=k?module-path=/m&pin-value=x;${pin}`,
  ];
  for (const uri of uris) {
    const error = await rejectsWithCode(() => parsePkcs11Uri(`pkcs11:${uri}`), 'ERR_KMS_INVALID_URI');
    assert.match(error.message, /pin-value is refused.*pin-source=file:/);
    assertNoSecret(error, Buffer.from(pin));
  }
});

test('a PIN in a place where none belongs is not shown', async () => {
  const pin = 'hunter2-4711';
  const uris = [
    `token=t;object=k?pin-source=${pin}`,
    `token=t;object=k?pin-source=${pin} `,
    `token=t;object=k?pin-source=env:${pin}`,
    `token=t;object=k?pin-source=x&${pin}=y`,
    `token=t;object=k?pin=${pin}`,
    `token=t;object=k?pin%2Dvalue=${pin}`,
    `token=t;object=k?${pin}`,
    pin,
  ];
  for (const uri of uris) {
    const error = await rejectsWithCode(() => parsePkcs11Uri(`pkcs11:${uri}`), 'ERR_KMS_INVALID_URI');
    assertNoSecret(error, Buffer.from(pin));
  }
});

const label = (maxBytes: number) =>
  fc
    .string({ unit: 'binary', minLength: 1, maxLength: maxBytes })
    .filter((text) => !text.includes('\0') && Buffer.byteLength(text) > 0 && Buffer.byteLength(text) <= maxBytes);

test('any label and any id come back from their percent-encoding, and from the canonical form', () => {
  const id = fc.uint8Array({ minLength: 1, maxLength: 64 });
  fc.assert(
    fc.property(label(32), label(255), id, fc.boolean(), (token, object, idBytes, sparing) => {
      const encode = (text: string) => (sparing ? encodeURIComponent(text) : escaped(Buffer.from(text)));
      const parsed = parse(`token=${encode(token)};object=${encode(object)};id=${escaped(Buffer.from(idBytes))}`);
      assert.is(parsed.token.label, token);
      assert.is(parsed.object, object);
      assert.equal(parsed.id, Buffer.from(idBytes));
      assert.match(parsed.shown, /^[\x21-\x7e]+$/);
      assert.equal(parsePkcs11Uri(`${parsed.shown}?${QUERY}`), parsed);
    }),
  );
});

test('whatever comes, it is parsed or refused as an invalid URI', async () => {
  const whole = `pkcs11:token=My%20token;serial=0123;slot-id=7;object=kek;id=%01%02;type=private?${QUERY}`;
  const pieces = [
    '%',
    ';',
    '&',
    '=',
    '?',
    '%00',
    '%ff',
    'pin-value=',
    'token=',
    '__proto__=',
    '|',
    'é',
    '\n',
    '\uD800',
  ];
  let [parsed, failed] = [0, 0];
  await fuzz('pkcs11 URI', fuzzRuns(), (run) => {
    let uri = run % 10 === 0 ? `pkcs11:${randomBytes(randomInt(60)).toString('latin1')}` : whole;
    for (let changes = run % 3; changes > 0; changes--) {
      const [at, end] = [randomInt(uri.length), randomInt(uri.length)];
      uri = uri.slice(0, at) + pieces[randomInt(pieces.length)]! + uri.slice(run % 2 === 0 ? at : end);
    }
    try {
      const { shown, object } = parsePkcs11Uri(uri);
      parsed++;
      assert.match(shown, /^pkcs11:[\x21-\x7e]+$/);
      assert.ok(object.length > 0 && !shown.includes('?'));
    } catch (error) {
      if (!(error instanceof KmsError) || error.code !== 'ERR_KMS_INVALID_URI') throw error;
      failed++;
    }
  });
  assert.ok(parsed > 0 && failed > 0);
});

test.run();
