import { rejectsWithCode } from '@teapot-kms/testing';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { isKeyId } from '../../src/envelope/key-id.ts';
import { KmsError } from '../../src/errors.ts';
import type { Manifest } from '../../src/keyset/manifest.ts';
import {
  blobName,
  formatManifest,
  MAX_MANIFEST_BYTES,
  parseManifest,
  writableManifest,
} from '../../src/keyset/manifest.ts';
import { fuzz, fuzzRuns } from '../support/fuzz.ts';
import { contentOf, manifestOf, manifestText } from '../support/manifests.ts';

/** One takes a millisecond. */
const MAX_RUNS = 200_000;

const good = manifestText(manifestOf('promoted', 'pending'));

/** The message for a manifest in which `from` stands as `to`. */
async function messageFor(from: string | RegExp, to: string): Promise<string> {
  const text = good.replace(from, to);
  assert.not.equal(text, good);
  return (await rejectsWithCode(() => parseManifest(text, '/keys/keyset.yaml'), 'ERR_KMS_KEYSET_INVALID')).message;
}

test('a manifest is what an operator expects to read', () => {
  assert.is(
    manifestText(manifestOf('promoted')),
    [
      'formatVersion: 1',
      'contextId: 0123456789abcdef0123456789abcdef',
      'primary: key-0',
      'keys:',
      '  - id: key-0',
      '    created: 2026-01-02T03:04:05.000Z',
      '    state: promoted',
      '    since: 2026-01-02T03:04:05.000Z',
      '',
    ].join('\n'),
  );
  assert.match(formatManifest(manifestOf('promoted')), /^# .*no secret/);
});

const wrong: [what: string, from: string | RegExp, to: string, message: RegExp][] = [
  ['an unknown format version', 'formatVersion: 1', 'formatVersion: 3', /:1: formatVersion: expected 1 or 2, found 3$/],
  ['no format version', 'formatVersion: 1\n', '', /:1: formatVersion: expected 1 or 2, found nothing$/],
  ['a context id that is too short', '89abcdef\np', '89\np', /:2: contextId: expected 32 hexadecimal digits.*, found /],
  ['a context id in upper case', '0123456789abcdef01', '0123456789ABCDEF01', /:2: contextId: expected 32 hex/],
  [
    'a context id that YAML takes for a number',
    /contextId: .*/,
    'contextId: 1'.padEnd(43, '2'),
    /:2: contextId: expected string/,
  ],
  [
    'a primary that is not listed',
    'primary: key-0',
    'primary: key-9',
    /:3: primary: expected the id of a listed key in state "promoted", found key-9$/,
  ],
  ['a primary that is pending', 'primary: key-0', 'primary: key-1', /:3: primary: expected .*"promoted", found key-1$/],
  [
    'a primary that is no key id',
    'primary: key-0',
    'primary: ../../etc',
    /:3: primary: expected a key id.*, found "..\/..\/etc"/,
  ],
  ['a key id that is a path', 'id: key-1', 'id: a/b', /:9: keys\[1\]\.id: expected a key id.*, found "a\/b"$/],
  ['a key listed twice', 'id: key-1', 'id: key-0', /:9: keys\[1\]\.id: key key-0 is listed twice/],
  [
    'an unknown state',
    'state: pending',
    'state: active',
    /:11: keys\[1\]\.state: .*"pending", "promoted", "retired".*found "active"$/,
  ],
  ['a time that is none', /created: .*\n/, 'created: yesterday\n', /:6: keys\[0\]\.created: .*found "yesterday"$/],
  ['an unknown setting of a key', '    state: pending', '    stat: pending', /:11: keys\[1\]\.stat: unknown setting/],
  ['an unknown setting', 'primary:', 'color: red\nprimary:', /:3: color: unknown setting$/],
  ['a setting twice', 'primary:', 'formatVersion: 1\nprimary:', /:3: Map keys must be unique/],
  ['no keys', /keys:[^]*/, 'keys: []\n', /:4: keys: .*expected.*found \[\]/],
  ['keys that are no list', /keys:[^]*/, 'keys: 7\n', /:4: keys: expected array, found 7$/],
  ['an alias', 'primary: key-0', 'primary: &a key-0\nx: *a', /aliases/],
];
for (const [what, from, to, message] of wrong) {
  test(`${what} is named with line, path, what was expected and what was found`, async () => {
    const text = await messageFor(from, to);
    assert.ok(text.startsWith('/keys/keyset.yaml:'), text);
    assert.match(text, new RegExp(message.source, 'm'));
  });
}

test('version 1 has no place for what only version 2 has', async () => {
  const text = good.replace('primary:', 'generation: 1\nprimary:');
  await rejectsWithCode(() => parseManifest(text, 'x'), 'ERR_KMS_KEYSET_INVALID');
});

test('all problems are named at once, and never more than twenty', async () => {
  const two = await messageFor(/created: .*/g, 'created: 9');
  assert.ok(two.split('\n').length >= 2, two);
  const many = good + '  - {}\n'.repeat(500);
  const error = await rejectsWithCode(() => parseManifest(many, 'x'), 'ERR_KMS_KEYSET_INVALID');
  assert.is(error.message.split('\n').length, 20);
});

test('a manifest that is too long is refused unread', async () => {
  const long = good + '#'.repeat(MAX_MANIFEST_BYTES);
  await rejectsWithCode(() => parseManifest(long, 'x'), 'ERR_KMS_KEYSET_INVALID');
});

test('a thousand keys are parsed, one more is not', async () => {
  const most = manifestOf(...Array.from({ length: 1_000 }, () => 'promoted' as const));
  const text = manifestText(most);
  assert.ok(text.length < MAX_MANIFEST_BYTES);
  assert.equal(contentOf(parseManifest(text, 'x')), contentOf(most));
  const more = manifestText(manifestOf(...Array.from({ length: 1_001 }, () => 'promoted' as const)));
  await rejectsWithCode(() => parseManifest(more, 'x'), 'ERR_KMS_KEYSET_INVALID');
});

for (const [what, manifest] of [
  ['of 1,001 keys', manifestOf(...Array.from({ length: 1_001 }, () => 'promoted' as const))],
  ['without a primary', manifestOf('pending')],
  ['with a generation below 1', { ...manifestOf('promoted'), generation: -1, formatVersion: 2 as const }],
] as const) {
  test(`a manifest ${what} is not written`, async () => {
    await rejectsWithCode(() => writableManifest(manifest), 'ERR_KMS_KEYSET_RULE');
  });
}

test('a blob stands beside the manifest under its id', () => {
  assert.is(blobName('k1'), 'k1.key');
});

/** Ids and context ids that YAML could take for numbers, dates, booleans or nothing. */
const confusable = fc.constantFrom(
  'null',
  'true',
  'no',
  'yes',
  '0',
  '1.5',
  '0x1f',
  '1e3',
  '0o7',
  '2026-01-02',
  'nan',
  '1-2',
);
const keyIds = fc.oneof(confusable, fc.stringMatching(/^[a-z0-9]([a-z0-9.-]{0,62}[a-z0-9])?$/).filter(isKeyId));
const times = fc.date({ noInvalidDate: true, min: new Date(0), max: new Date(4e12) }).map((date) => date.toISOString());
const contextIds = fc.oneof(
  fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes).toString('hex')),
  fc.constantFrom('0'.repeat(32), '1'.repeat(32), `${'1'.repeat(15)}e${'1'.repeat(16)}`, `1e${'0'.repeat(30)}`),
);
const manifests: fc.Arbitrary<Manifest> = fc
  .record({
    contextId: contextIds,
    keys: fc.uniqueArray(
      fc.record(
        { id: keyIds, created: times, state: fc.constantFrom('pending', 'promoted', 'retired'), since: times },
        { noNullPrototype: true },
      ),
      { minLength: 1, maxLength: 8, selector: (key) => key.id },
    ),
    at: fc.nat(),
  })
  .map(({ contextId, keys, at }) => {
    const primary = keys[at % keys.length]!;
    primary.state = 'promoted';
    return { formatVersion: 1, contextId, generation: 0, primary: primary.id, keys };
  });

test('what is formatted is parsed to the same, whatever YAML could take it for', () => {
  fc.assert(
    fc.property(manifests, (manifest) =>
      assert.equal(contentOf(parseManifest(formatManifest(manifest), 'x')), manifest),
    ),
    { numRuns: 300 },
  );
});

test('a mutated manifest is another valid one or a KmsError that says where', async () => {
  const snippets = [
    '{',
    '}',
    '[',
    ']',
    ': ',
    '- ',
    '&a ',
    '*a',
    '!!',
    '\n',
    '\t',
    '|',
    '>',
    '"',
    "'",
    '#',
    '%',
    '\0',
    '? ',
    'é',
    '~',
  ];
  const pick = (most: number) => Math.floor(Math.random() * most);
  const tryOne = () => {
    let text = good;
    for (let change = 0; change <= pick(4); change++) {
      const at = pick(text.length);
      text = text.slice(0, at) + (pick(2) === 0 ? snippets[pick(snippets.length)]! : '') + text.slice(at + pick(12));
    }
    try {
      assert.ok(isKeyId(parseManifest(text, '/keys').primary));
    } catch (error) {
      if (!(error instanceof KmsError) || error.code !== 'ERR_KMS_KEYSET_INVALID') throw error;
      if (!error.message.startsWith('/keys:')) throw error;
    }
  };
  const { heapGrowthMb } = await fuzz('manifest', Math.min(fuzzRuns(2_000), MAX_RUNS), tryOne);
  assert.ok(heapGrowthMb < 20);
});

for (const [what, text] of Object.entries({
  'deeply nested lists': '['.repeat(30_000),
  'deeply nested maps': '{a: '.repeat(10_000),
  'nested block lists': '- '.repeat(30_000),
  'nested keys': '? '.repeat(20_000),
  'deep and well-formed': `primary: ${'['.repeat(2_000)}${']'.repeat(2_000)}`,
  'a bomb of aliases': `a: &a [x]\nb: &b [*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b]\nd: [*c,*c]\n`,
  'nothing at all': '',
  'a tag': '!!js/function x',
  'a prototype': '__proto__: {primary: x}\nconstructor: 1',
  'two documents': `${good}---\n${good}`,
  'a binary file': String.fromCharCode(...Array.from({ length: 256 }, (_, i) => i)),
  'a NUL': '\0',
})) {
  test(`${what} instead of a manifest is a KmsError with a short message`, async () => {
    const error = await rejectsWithCode(() => parseManifest(text, 'x'), 'ERR_KMS_KEYSET_INVALID');
    assert.ok(error.message.length < 4_000, `${String(error.message.length)} characters`);
  });
}

test.run();
