import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { z } from 'zod';
import { parseYaml } from '../../src/util/yaml-document.ts';
import { readYaml } from '../../src/util/yaml-reader.ts';
import { figure } from '../support/figure.ts';
import { countedOperations } from '../support/operations.ts';

const schema = z.strictObject({ name: z.string(), list: z.array(z.string()).optional() });

const lines = (count: number, line: (i: number) => string): string =>
  Array.from({ length: count }, (_, i) => line(i)).join('\n');

/** Texts of a length that grows with `n`. Each was, or looks as if it could be, slow. */
const SLOW: Record<string, (n: number) => string> = {
  'unknown keys': (n) => lines(n, (i) => `key${i}: 1`),
  'one key again and again': (n) => lines(n, () => 'key: 1'),
  'unknown keys on one line': (n) => `{${lines(n, (i) => `key${i}: 1,`).replaceAll('\n', ' ')}}`,
  'items of a wrong type': (n) => `name: x\nlist:\n${lines(n, () => '- {}')}`,
  'a value to show that is long': (n) => `name: [${'1, '.repeat(n)}]`,
  anchors: (n) => lines(n, (i) => `key${i}: &a${i} 1`),
  aliases: (n) => `a: &a 1\n${lines(n, (i) => `key${i}: *a`)}`,
  'merge keys': (n) => `a: &a {b: 1}\n${lines(n, () => '<<: *a')}`,
  'no YAML': (n) => '}{'.repeat(n),
  'open quotes': (n) => 'a: "b\n'.repeat(n),
  'tags that nobody knows': (n) => lines(n, (i) => `key${i}: !t${i} 1`),
  documents: (n) => '---\n'.repeat(n),
  directives: (n) => '%A b\n'.repeat(n),
  comments: (n) => '# x\n'.repeat(n),
  'empty lines': (n) => '\n'.repeat(n),
  'complex keys': (n) => '? a\n'.repeat(n),
  'a long list': (n) => `a: [${'1,'.repeat(n)}]`,
};

for (const [what, textOf] of Object.entries(SLOW)) {
  test(`${what}: four times the text is at most five times the work`, () => {
    const count = (n: number) => countedOperations(() => void parseYaml(textOf(n), schema));
    // What runs for the first time is counted in part only.
    count(1_000);
    const [few, many] = [count(250), count(1_000)];
    assert.ok(many <= 5 * few, `${few} operations, then ${many}`);
  });
}

test('the largest text that is accepted, and one that is refused for its length, show their time', () => {
  // An instance of a configuration, on one line.
  const item = '- { name: n, socket: /run/s, keys: { uri: "file:/var/lib/keys" } }';
  for (const count of [400, 60_000]) {
    const text = `list:\n${lines(count, () => item)}`;
    const before = process.cpuUsage();
    const { problems } = readYaml(text, {});
    const ms = process.cpuUsage(before).user / 1000;
    assert.is(problems === undefined, count === 400);
    figure(`readYaml: ${text.length} characters ${problems ? 'refused' : 'read'} in ${ms.toFixed(0)} ms of CPU time`);
  }
});

test('a text of too many tokens is refused with the line where they are too many, and nothing behind it is looked at', () => {
  const text = (keys: number) => lines(keys, (i) => `key${i}: 1`);
  const { problems, exceeded } = readYaml(text(5_000), {});
  assert.ok(exceeded);
  assert.match(problems[0]!.message, 'expected at most 15000 signs');
  assert.is(problems[0]!.line, 2_143);
  const refusing = (keys: number) => countedOperations(() => void readYaml(text(keys), {}));
  refusing(5_000);
  const [few, many] = [refusing(5_000), refusing(50_000)];
  // The texts are made meanwhile: an operation for each line.
  assert.ok(many < few + 100_000, `${few} operations, then ${many}`);
});

test('a reader may allow another number of tokens', () => {
  assert.is(readYaml('a: [1, 2]', {}, 20).problems, undefined);
  assert.match(readYaml('a: [1, 2]', {}, 3).problems![0]!.message, 'at most 3 signs');
});

test('a second document is an error, with its line', () => {
  const { problems } = readYaml('a: 1\n---\nb: 2\n', {});
  assert.equal(problems, [{ line: 2, path: '', message: 'Source contains multiple documents' }]);
});

for (const [what, text] of [
  ['lists in lists, in brackets', '['.repeat(100_000)],
  ['maps in maps, in braces', '{a: '.repeat(50_000)],
  ['lists in lists, on one line', `${'- '.repeat(100_000)}x`],
  ['keys of keys', '? '.repeat(100_000)],
  ['values of values', `a${': '.repeat(100_000)}`],
  ['maps in maps, indented', lines(2_000, (i) => `${' '.repeat(i)}a:`)],
  ['lists in lists, indented', lines(2_000, (i) => `${' '.repeat(i)}-`)],
] as const) {
  test(`${what}: refused, because each one takes a piece of the stack`, () => {
    const { problems, exceeded } = readYaml(text, {});
    assert.ok(exceeded, problems?.[0]?.message);
  });
}

test('a configuration on one line, as JSON, is not too deep', () => {
  const value = {
    list: Array.from({ length: 200 }, (_, i) => ({ name: `n${i}`, keys: { uri: 'file:/k', a: [[1]] } })),
  };
  assert.is(readYaml(JSON.stringify(value), {}).problems, undefined);
});

test('a duplicate key is found at any depth, with its line', () => {
  for (const [text, line] of [
    ['a: 1\nb: 2\na: 3\n', 3],
    ['a:\n  - x: 1\n    x: 2\n', 3],
    ['{a: 1,\n "a": 2}\n', 2],
  ] as const) {
    assert.equal(readYaml(text, {}).problems, [{ line, path: '', message: 'Map keys must be unique' }]);
  }
});

test('a merge key may stand twice', () => {
  assert.is(readYaml('a: &a {x: 1}\nb:\n  <<: *a\n  <<: *a\n', { merge: true }).problems, undefined);
});

test.run();
