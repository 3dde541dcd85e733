import { newDirectory } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { UsageError } from '../../src/cli/exit-codes.ts';
import { checkOwner, parseOwner } from '../../src/cli/owner-option.ts';

const accounts = {
  passwd: 'root:x:0:0::/root:/bin/sh\nteapot:x:812:813::/:/bin/false\n77:x:900:901::/:/bin/false\n',
  group: 'root:x:0:\nkeys:x:55:\n',
};

for (const [text, uid, gid] of [
  ['teapot', 812, 813],
  ['812', 812, 813],
  ['teapot:keys', 812, 55],
  ['4321:55', 4321, 55],
  ['4321:9', 4321, 9],
  ['77', 900, 901],
] as const) {
  test(`${text} is user ${uid} and group ${gid}`, () => {
    assert.equal(parseOwner(text, accounts), { uid, gid });
  });
}

for (const [text, message] of [
  ['', /expected USER or USER:GROUP, found ""/],
  ['a:b:c', /expected USER or USER:GROUP/],
  ['teapot:', /expected USER or USER:GROUP/],
  ['nobody', /this host has no user "nobody"/],
  ['-1', /this host has no user "-1"/],
  ['4294967295:1', /this host has no user "4294967295"/],
  ['4321', /does not know the group of user 4321; name it: --owner 4321:GROUP/],
  ['teapot:none', /this host has no group "none"/],
] as const) {
  test(`--owner ${JSON.stringify(text)} is refused, and the error says why`, () => {
    assert.throws(
      () => parseOwner(text, accounts),
      (error: unknown) => error instanceof UsageError && message.test(error.message),
    );
  });
}

test('a directory of another user is not filled with files of this one', () => {
  const directory = newDirectory();
  assert.throws(
    () => checkOwner({ uid: 4321, gid: 1 }, directory),
    /belongs to user 0; change that first: chown -R 4321:1/,
  );
  checkOwner({ uid: 0, gid: 0 }, directory);
  assert.throws(() => checkOwner({ uid: 0, gid: 0 }, undefined), 'has no files on this host');
});

test.run();
