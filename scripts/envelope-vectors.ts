/** Defines the vectors that `make-vectors.ts` writes: the purpose and the bytes of each. */
import { createCipheriv, createHash } from 'node:crypto';
import {
  BOTH_KEYS,
  CONTEXT,
  KEY,
  KEY_ID,
  LOCAL_KEK,
  NONCE,
  NONE,
  OTHER_CONTEXT,
  OTHER_KEY,
  OTHER_KEY_ID,
  OTHER_LOCAL_KEK,
  SEED,
  assemble,
  changed,
  fixed,
  hex,
  seal,
  spliced,
  token,
  unwraps,
  wrappedOf,
} from './envelope-bytes.ts';
import type { EnvelopeVector, Extra } from './envelope-bytes.ts';

function success(
  name: string,
  comment: string,
  plaintext: Buffer,
  envelope: Buffer,
  extra: Extra = {},
): EnvelopeVector {
  const plaintextSha256 = createHash('sha256').update(plaintext).digest('hex');
  return { ...common(name, comment, '7.2/11', { expect: 'success' }, envelope, extra), plaintextSha256 };
}

const EXPECT_OF = {
  ERR_KMS_ENVELOPE_MALFORMED: 'header-failure',
  ERR_KMS_ENVELOPE_VERSION: 'unsupported-version',
  ERR_KMS_LIMIT_EXCEEDED: 'limit-failure',
  ERR_KMS_KEY_ID_MISMATCH: 'key-id-mismatch',
  ERR_KMS_UNKNOWN_KEY: 'no-match',
  ERR_KMS_UNWRAP_FAILED: 'unwrap-failure',
  ERR_KMS_AUTHENTICATION_FAILED: 'tag-failure',
};
const MALFORMED = 'ERR_KMS_ENVELOPE_MALFORMED';
const VERSION = 'ERR_KMS_ENVELOPE_VERSION';
const LIMIT = 'ERR_KMS_LIMIT_EXCEEDED';
const MISMATCH = 'ERR_KMS_KEY_ID_MISMATCH';
const UNKNOWN = 'ERR_KMS_UNKNOWN_KEY';
const UNWRAP = 'ERR_KMS_UNWRAP_FAILED';
const TAG = 'ERR_KMS_AUTHENTICATION_FAILED';

type Reject = [code: keyof typeof EXPECT_OF, name: string, comment: string, envelope: Buffer, extra?: Extra];

function rejects(step: number, ...list: Reject[]): EnvelopeVector[] {
  return list.map(([code, name, comment, envelope, extra = {}]) =>
    common(name, comment, `7.2/${String(step)}`, { expect: EXPECT_OF[code], code }, envelope, extra),
  );
}

type Outcome = Pick<EnvelopeVector, 'expect' | 'code'>;

function common(
  name: string,
  comment: string,
  clause: string,
  outcome: Outcome,
  envelope: Buffer,
  extra: Extra,
): EnvelopeVector {
  const { keys = { [KEY_ID]: hex(KEY) }, ...optional } = extra;
  return { name, comment, clause, ...outcome, contextId: hex(CONTEXT), keys, ...optional, ciphertext: hex(envelope) };
}

/** Returns all vectors in the order of the steps of the spec. */
export function envelopeVectors(): EnvelopeVector[] {
  return [...successes(), ...headerRejects(), ...keyRejects(), ...tagRejects()];
}

function successes(): EnvelopeVector[] {
  const [one, ping, long] = [Buffer.from([0x2a]), Buffer.from('ping'), Buffer.alloc(1024, fixed('long'))];
  const maxId = `${KEY_ID}-${OTHER_KEY_ID}.0123456789`;
  const [w60, w384, w512] = [wrappedOf(60), wrappedOf(384), wrappedOf(512)];
  const local = (wrapped: Buffer) => seal(SEED, KEY_ID, LOCAL_KEK, wrapped);
  return [
    success('one_byte', 'the shortest plaintext', one, seal(one)),
    success('ping', 'what KMS v1 of kube-apiserver sends to see whether the plugin works', ping, seal(ping)),
    success('dek_seed', 'the 32-byte DEK seed of KMS v2', SEED, seal(SEED)),
    success('request_keyid', 'KMS v2: the request names the key', SEED, seal(SEED), { requestKeyId: KEY_ID }),
    success('long', 'a plaintext of many AES blocks', long, seal(long)),
    success('zeros', '32 zero bytes', Buffer.alloc(32), seal(Buffer.alloc(32))),
    success('second_key', 'one of two keys', SEED, seal(SEED, OTHER_KEY_ID, OTHER_KEY), BOTH_KEYS),
    success('keyid_one', 'the shortest key id', SEED, seal(SEED, '7'), { keys: { '7': hex(KEY) } }),
    success('keyid_64', 'the longest key id', SEED, seal(SEED, maxId), { keys: { [maxId]: hex(KEY) } }),
    success('keyid_signs', 'a key id of every kind of character', SEED, seal(SEED, 'az-09.--..x'), {
      keys: { 'az-09.--..x': hex(KEY) },
    }),
    success('wrapped_60', 'a local KEK as AES-GCM wraps it', SEED, local(w60), unwraps(w60, LOCAL_KEK)),
    success('wrapped_384', 'a local KEK as RSA-3072 wraps it', SEED, local(w384), unwraps(w384, LOCAL_KEK)),
    success('wrapped_512', 'the longest wrapped local KEK', SEED, local(w512), unwraps(w512, LOCAL_KEK)),
    success(
      'wrapped_one',
      'the shortest wrapped local KEK',
      SEED,
      local(wrappedOf(1)),
      unwraps(wrappedOf(1), LOCAL_KEK),
    ),
  ];
}

function headerRejects(): EnvelopeVector[] {
  const good = assemble();
  const w60 = assemble({ key: LOCAL_KEK, wrapped: wrappedOf(60) });
  const withWrapped = unwraps(wrappedOf(60), LOCAL_KEK);
  const idOf = (keyId: string): [Buffer, Extra] => [assemble({ keyId }), { keys: { [keyId]: hex(KEY) } }];
  const [headerEnd, wrappedAt] = [7 + KEY_ID.length, 7 + KEY_ID.length];
  return [
    ...rejects(1, [LIMIT, 'envelope_65536', 'one byte too long', assemble({ plaintext: Buffer.alloc(65_463) })]),
    ...rejects(
      2,
      [MALFORMED, 'empty', 'nothing at all', NONE],
      [MALFORMED, 'six_bytes', 'shorter than any header', good.subarray(0, 6)],
      [MALFORMED, 'magic_wrong', 'another first byte', assemble({ magic: 'UK' })],
      [MALFORMED, 'magic_second_wrong', 'another second byte', assemble({ magic: 'Tk' })],
    ),
    ...rejects(
      3,
      [VERSION, 'version_0', 'version 0', assemble({ version: 0 })],
      [VERSION, 'version_2', 'version 2', assemble({ version: 2 })],
      [VERSION, 'suite_0', 'suite 0', assemble({ suite: 0 })],
      [VERSION, 'suite_2', 'suite 2', assemble({ suite: 2 })],
    ),
    ...rejects(
      4,
      [LIMIT, 'keyid_len_zero', 'no key id', assemble({ keyId: '' })],
      [LIMIT, 'keyid_len_65', 'a key id of 65 characters', ...idOf('a'.repeat(65))],
      [LIMIT, 'keyid_len_255', 'a length that goes beyond the end and over the cap', assemble({ keyIdLength: 255 })],
      [MALFORMED, 'truncated_in_keyid', 'the end is within the key id', good.subarray(0, 20)],
      [MALFORMED, 'truncated_in_wrapped_len', 'the end is within the wrapped length', good.subarray(0, headerEnd - 1)],
    ),
    ...rejects(
      5,
      [
        LIMIT,
        'wrapped_len_513',
        'a wrapped local KEK of 513 bytes',
        assemble({ key: LOCAL_KEK, wrapped: wrappedOf(513) }),
        unwraps(wrappedOf(513), LOCAL_KEK),
      ],
      [
        LIMIT,
        'wrapped_len_65535',
        'a length that goes beyond the end and over the cap',
        assemble({ wrappedLength: 65_535 }),
      ],
      [
        MALFORMED,
        'wrapped_len_overflow',
        'an allowed length that goes beyond the end',
        assemble({ wrappedLength: 512 }),
      ],
      [
        MALFORMED,
        'truncated_in_wrapped',
        'the end is within the wrapped local KEK',
        w60.subarray(0, wrappedAt + 30),
        withWrapped,
      ],
      [MALFORMED, 'truncated_before_nonce', 'only a header', good.subarray(0, headerEnd)],
      [MALFORMED, 'truncated_in_nonce', 'the end is within the nonce', good.subarray(0, headerEnd + 23)],
      [MALFORMED, 'truncated_in_tag', 'too short for a tag', good.subarray(0, headerEnd + 24 + 15)],
      [LIMIT, 'empty_plaintext', 'a valid tag over an empty plaintext', assemble({ plaintext: NONE })],
    ),
    ...rejects(
      6,
      [MALFORMED, 'keyid_uppercase', 'an upper-case letter', ...idOf('Mfrg')],
      [MALFORMED, 'keyid_underscore', 'an underscore', ...idOf('mf_rg')],
      [MALFORMED, 'keyid_slash', 'a slash: a path', ...idOf('a/../b')],
      [MALFORMED, 'keyid_newline', 'a line feed at the end', ...idOf('mfrg\n')],
      [MALFORMED, 'keyid_nul', 'a zero byte', ...idOf('mf\0rg')],
      [MALFORMED, 'keyid_latin1', 'a byte that is not ASCII', ...idOf('mfr\u00e9x')],
      [MALFORMED, 'keyid_first_dash', 'a dash in front', ...idOf('-mfrg')],
      [MALFORMED, 'keyid_last_dot', 'a dot at the end', ...idOf('mfrg.')],
    ),
  ];
}

function keyRejects(): EnvelopeVector[] {
  const good = assemble();
  const w60 = wrappedOf(60);
  const wrapped = assemble({ key: LOCAL_KEK, wrapped: w60 });
  return [
    ...rejects(
      7,
      [
        MISMATCH,
        'request_keyid_mismatch',
        'the request names another key of the keyset',
        good,
        { ...BOTH_KEYS, requestKeyId: OTHER_KEY_ID },
      ],
      [MISMATCH, 'request_keyid_empty', 'the request names no key, but is one of KMS v2', good, { requestKeyId: '' }],
      [
        MISMATCH,
        'request_keyid_prefix',
        'the request names the start of the id',
        good,
        { requestKeyId: KEY_ID.slice(0, -1) },
      ],
    ),
    ...rejects(
      8,
      [TAG, 'wrapped_in_keyset_instance', 'a wrapped local KEK where the KEK is in memory', assemble({ wrapped: w60 })],
      [TAG, 'no_wrapped_in_token_instance', 'none where the KEK is in a token', good, token({})],
    ),
    ...rejects(
      9,
      [UNKNOWN, 'key_unknown', 'a key that the keyset does not have', assemble({ keyId: OTHER_KEY_ID })],
      [
        UNKNOWN,
        'key_unknown_in_token',
        'a key that the token does not have',
        assemble({ keyId: OTHER_KEY_ID, key: LOCAL_KEK, wrapped: w60 }),
        unwraps(w60, LOCAL_KEK),
      ],
    ),
    ...rejects(
      10,
      [UNWRAP, 'wrapped_refused', 'the token refuses', wrapped, unwraps(w60, null)],
      [
        UNWRAP,
        'wrapped_flipped',
        'a bit of the wrapped local KEK is changed',
        changed(wrapped, 7 + KEY_ID.length),
        unwraps(w60, LOCAL_KEK),
      ],
      [UNWRAP, 'unwrapped_31', 'the token gives back 31 bytes', wrapped, unwraps(w60, LOCAL_KEK.subarray(0, 31))],
      [
        UNWRAP,
        'unwrapped_33',
        'the token gives back 33 bytes',
        wrapped,
        unwraps(w60, Buffer.concat([LOCAL_KEK, Buffer.alloc(1)])),
      ],
    ),
  ];
}

function tagRejects(): EnvelopeVector[] {
  const good = assemble();
  const sealedAt = 7 + KEY_ID.length + 24;
  const [w60, other60] = [wrappedOf(60), Buffer.alloc(60, fixed('another wrapped'))];
  const wrapped = assemble({ key: LOCAL_KEK, wrapped: w60 });
  const gcm = createCipheriv('aes-256-gcm', KEY, NONCE.subarray(12));
  gcm.setAAD(Buffer.concat([Buffer.from('teapot-kms/envelope/v1'), CONTEXT, good.subarray(0, 7 + KEY_ID.length)]));
  const plainGcm = Buffer.concat([good.subarray(0, sealedAt), gcm.update(SEED), gcm.final(), gcm.getAuthTag()]);
  const either = (key: Buffer) => token({ [hex(w60)]: hex(LOCAL_KEK), [hex(other60)]: hex(key) });
  return rejects(
    11,
    [TAG, 'tag_flipped', 'the last bit of the tag', changed(good, -1)],
    [TAG, 'tag_first_flipped', 'the first bit of the tag', changed(good, -16, 0x80)],
    [TAG, 'tag_zero', 'a tag of zeros', spliced(good, good.length - 16, Buffer.alloc(16))],
    [TAG, 'ciphertext_flipped', 'a bit of the ciphertext', changed(good, sealedAt)],
    [TAG, 'nonce_first_half_flipped', 'a bit of what the key is derived from', changed(good, sealedAt - 24)],
    [TAG, 'nonce_second_half_flipped', 'a bit of the nonce of GCM', changed(good, sealedAt - 1)],
    [TAG, 'truncated_by_one', 'the last byte is missing', good.subarray(0, -1)],
    [TAG, 'trailing_byte', 'one byte too many', Buffer.concat([good, Buffer.alloc(1)])],
    [
      TAG,
      'keyid_swapped',
      'the id of another key of the keyset',
      spliced(good, 5, Buffer.from(OTHER_KEY_ID)),
      BOTH_KEYS,
    ],
    [TAG, 'key_other', 'sealed with another key under this id', assemble({ key: OTHER_KEY })],
    [
      TAG,
      'context_swapped',
      'sealed in another keyset with the same key and id',
      assemble({ contextId: OTHER_CONTEXT }),
    ],
    [TAG, 'context_missing', 'sealed without a context id', assemble({ contextId: NONE })],
    [TAG, 'label_other', 'sealed with another label', assemble({ label: 'teapot-kms/envelope/v2' })],
    [TAG, 'plain_gcm', 'sealed with AES-256-GCM without a derived key', plainGcm],
    [
      TAG,
      'wrapped_swapped',
      'another wrapped form of the same local KEK',
      spliced(wrapped, 7 + KEY_ID.length, other60),
      either(LOCAL_KEK),
    ],
    [
      TAG,
      'wrapped_of_other_kek',
      'another local KEK’s wrapped form',
      spliced(wrapped, 7 + KEY_ID.length, other60),
      either(OTHER_LOCAL_KEK),
    ],
  );
}
