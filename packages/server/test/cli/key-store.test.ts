import { newDirectory } from '@teapot-kms/testing';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { UsageError } from '../../src/cli/exit-codes.ts';
import { checkParent } from '../../src/cli/key-store.ts';

const refusal = (work: () => void): string => {
  try {
    work();
    return '';
  } catch (error) {
    assert.instance(error, UsageError, String(error));
    return (error as Error).message;
  }
};
const here = newDirectory();

for (const scheme of ['file', 'barbican']) {
  test(`${scheme}: a directory without a parent is refused, unless it is to be created`, () => {
    const uri = `${scheme}:${here}/typo/x`;
    assert.match(
      refusal(() => checkParent({ uri }, uri)),
      `${here}/typo does not exist; correct the path, or pass --create-parents`,
    );
    checkParent({ uri, createParents: true }, uri);
    checkParent({ uri }, `${scheme}:${here}/keys`);
  });

  for (const path of ['/', '///', '/x/..']) {
    test(`${scheme}:${path} is no place for a keyset`, () => {
      const uri = `${scheme}:${path}`;
      const said = refusal(() => checkParent({ uri, createParents: true }, uri));
      assert.match(said, '/ is the root directory of this host');
    });
  }
}

test('a manifest that Barbican keeps has no directory', () => {
  checkParent({ uri: 'barbican:production' }, 'barbican:production');
});

test('the directory of the manifest of a token counts', () => {
  const config = join(here, 'config.yaml');
  const uri = 'pkcs11:token=t;object=kek?module-name=m&pin-source=file:/run/pin';
  writeFileSync(
    config,
    `version: 1\ninstances:\n  - name: a\n    socket: /run/a.sock\n    keys:\n      uri: ${uri}\n      keyset: ${here}/typo/x\n`,
  );
  assert.match(
    refusal(() => checkParent({ config }, uri)),
    `${here}/typo does not exist`,
  );
});

test.run();
