import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { z } from 'zod';
import { formatProblems, parseYaml } from '../../src/util/yaml-document.ts';
import { fuzz, fuzzRuns } from '../support/fuzz.ts';

const schema = z.strictObject({
  name: z.string(),
  port: z.number().int().max(65_535).optional(),
  items: z.array(z.strictObject({ id: z.string(), size: z.number().optional() })).default([]),
  either: z
    .union([z.strictObject({ file: z.string() }), z.strictObject({ secret: z.string(), key: z.string() })])
    .optional(),
  flag: z.union([z.boolean(), z.literal('auto')]).optional(),
});

function problems(text: string): string[] {
  const { problems: found } = parseYaml(text, schema);
  return formatProblems('f', found ?? []).split('\n');
}

test('a document that fits is given back, with defaults', () => {
  assert.equal(parseYaml('name: x\n', schema).value, { name: 'x', items: [] });
});

test('JSON is YAML', () => {
  assert.equal(parseYaml('{"name": "x", "items": [{"id": "a"}]}', schema).value, { name: 'x', items: [{ id: 'a' }] });
});

for (const [what, text, expected] of [
  ['a missing setting', 'port: 1\n', 'f:1: name: expected string, found nothing'],
  [
    'a missing setting further down',
    'name: x\nitems:\n  - size: 1\n',
    'f:3: items[0].id: expected string, found nothing',
  ],
  ['another type', 'name: 7\n', 'f:1: name: expected string, found 7'],
  ['a number that is too large', 'name: x\nport: 70000\n', 'f:2: port: expected number to be <=65535, found 70000'],
  ['an unknown setting', 'name: x\nnmae: y\n', 'f:2: nmae: unknown setting'],
  [
    'an unknown setting in a list',
    'name: x\nitems:\n  - id: a\n  - id: b\n    x: 1\n',
    'f:5: items[1].x: unknown setting',
  ],
  [
    'a typing error in one of two alternatives',
    'name: x\neither:\n  secret: s\n  kee: k\n',
    'f:3: either.key: expected string, found nothing',
  ],
  [
    'a value that fits no alternative',
    'name: x\nflag: maybe\n',
    'f:2: flag: expected boolean or "auto", found "maybe"',
  ],
  ['a scalar instead of the document', 'hello\n', 'f:1: expected object, found "hello"'],
  ['nothing at all', '', 'f:1: expected object, found null'],
  ['a list', '- name: x\n', 'f:1: expected object, found [{"name":"x"}]'],
] as const) {
  test(`${what} is told with its line`, () => {
    const found = problems(text);
    assert.ok(found.includes(expected), found.join(' | '));
  });
}

test('all problems are told, each with its own line', () => {
  assert.is(problems('name: 1\nport: x\nother: 2\n').length, 3);
});

test('a long value is cut', () => {
  const [line] = problems(`name: [${'1, '.repeat(500)}]\n`);
  assert.ok(line!.length < 140, line);
});

test('of thousands of problems twenty are told', () => {
  assert.is(problems('}{'.repeat(5_000)).length, 20);
  assert.is(problems(Array.from({ length: 500 }, (_, i) => `x${String(i)}: 1`).join('\n')).length, 20);
});

test('what a problem repeats of the text is one well-formed, printable line, cut at a character', () => {
  const emoji = '😀'.repeat(200);
  for (const text of [
    `name: [${emoji}]`,
    `name: x\n${emoji}: 1`,
    `name: x\n"a\\u202e\\ud83d": 1`,
    `name: !<\u0007${emoji}> x`,
  ]) {
    for (const line of problems(text)) {
      assert.ok(line.isWellFormed(), line);
      assert.not.match(line, /[\p{C}]/u);
      assert.ok(line.length < 400);
    }
  }
});

test('a value that is shown is neither walked nor written as a whole', () => {
  const [line] = problems(`name: [[[${'x, '.repeat(20_000)}]]]\n`);
  assert.ok(line!.length < 140, line);
});

test('a setting that stands twice is refused', () => {
  assert.match(problems('name: x\nname: y\n')[0]!, /^f:2: .*unique/);
});

test('aliases are refused, before they expand', () => {
  const bomb = [
    'a: &a [x, x]',
    ...'bcdefghijkl'.split('').map((c, i) => `${c}: &${c} [${`*${'abcdefghijk'[i]!}, `.repeat(9)}]`),
  ];
  // Expanded, it would fill the memory.
  assert.match(problems(`name: x\n${bomb.join('\n')}\n`)[0]!, /aliases \(\*name\) are not allowed/);
});

test('a merge key brings nothing in', () => {
  assert.ok(parseYaml('<<: {name: x}\n', schema).problems);
});

test('a prototype cannot be set', () => {
  assert.ok(parseYaml('name: x\n__proto__: {port: 1}\n', schema).problems);
  assert.is(({} as { port?: number }).port, undefined);
});

test('a tag makes nothing but plain data', () => {
  for (const tag of ['!!js/function', '!!binary', '!!python/object', '!x', '!!set', '!!timestamp']) {
    const { value } = parseYaml(`name: ${tag} x\n`, schema);
    if (value) assert.type(value.name, 'string');
  }
});

test('any text gives a value or problems with a line within the text', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
      const lines = text.split('\n').length + 1;
      for (const { line } of parseYaml(text, schema).problems ?? []) assert.ok(line >= 1 && line <= lines);
    }),
    { numRuns: 1_000 },
  );
});

test('texts of YAML’s own signs neither throw nor fill the memory', async () => {
  const signs = [
    '{',
    '}',
    '[',
    ']',
    ':',
    ' ',
    '- ',
    ',',
    '&a',
    '*a',
    '!',
    '|\n',
    '>\n',
    '"',
    "'",
    '#',
    '%',
    '\n',
    '\n  ',
    '? ',
    'name',
    'x',
    '\t',
  ];
  const { heapGrowthMb } = await fuzz('parseYaml', fuzzRuns(3_000), () => {
    let text = '';
    for (let n = Math.random() * 40; n > 0; n--) text += signs[Math.floor(Math.random() * signs.length)]!;
    parseYaml(text, schema);
  });
  assert.ok(heapGrowthMb < 20);
});

test.run();
