import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { isKeyId, newKeyId } from '../../src/envelope/key-id.ts';

test('a new key id is 26 characters of base32 and a key id', () => {
  for (let i = 0; i < 1_000; i++) {
    const id = newKeyId();
    assert.match(id, /^[a-z2-7]{26}$/);
    assert.ok(isKeyId(id));
  }
});

test('no two new key ids are alike', () => {
  assert.is(new Set(Array.from({ length: 10_000 }, newKeyId)).size, 10_000);
});

test('every position of a new key id takes every value it can', () => {
  const seen = Array.from({ length: 26 }, () => new Set<string>());
  for (let i = 0; i < 3_000; i++)
    newKeyId()
      .split('')
      .forEach((character, at) => seen[at]!.add(character));
  // The last character carries three bits: 128 is not a multiple of five.
  assert.equal(
    seen.map((characters) => characters.size),
    [...Array.from({ length: 25 }, () => 32), 8],
  );
});

for (const id of ['a', '0', 'a-b', 'a.b', 'a..b', 'a--b', '1'.repeat(64), 'tenant-7.2026']) {
  test(`${id} is a key id`, () => {
    assert.ok(isKeyId(id));
  });
}

for (const id of [
  '',
  '-',
  '.',
  '-a',
  'a-',
  '.a',
  'a.',
  'A',
  'a_b',
  'a/b',
  'a b',
  'a\n',
  '\na',
  'ä',
  'a\0',
  '1'.repeat(65),
]) {
  test(`${JSON.stringify(id)} is no key id`, () => {
    assert.not.ok(isKeyId(id));
  });
}

test.run();
