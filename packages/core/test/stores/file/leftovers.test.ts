import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { destroyRetiredKey, generateKey, retireKey } from '../../../src/keyset/administration.ts';
import { patient } from '../../support/context.ts';
import { newDirectory } from '@teapot-kms/testing';
import { open } from '../../support/directories.ts';

test('a keyset that was only ever changed in full has no leftovers', async () => {
  const source = open(newDirectory());
  await generateKey(source.admin!);
  const { keyId } = await generateKey(source.admin!);
  await retireKey(source.admin!, keyId);
  assert.equal(await source.examine?.(patient), []);
  await destroyRetiredKey(source.admin!, keyId, { graceMs: 0 });
  assert.equal(await source.examine?.(patient), []);
});

test('a key that no manifest lists is named, and so is one under a temporary name', async () => {
  const directory = newDirectory();
  const source = open(directory);
  await generateKey(source.admin!);
  await source.admin!.createKey('orphan', Buffer.alloc(16));
  writeFileSync(join(directory, '.orphan.key.0123456789ab.tmp'), 'x'.repeat(32));
  writeFileSync(join(directory, 'README'), 'not a key');
  const found = (await source.examine?.(patient))!;
  assert.is(found.length, 2);
  for (const name of ['orphan.key', '.orphan.key.0123456789ab.tmp']) {
    assert.ok(
      found.some(({ text }) => text.startsWith(`${join(directory, name)} is a key that no manifest lists`)),
      name,
    );
  }
  assert.ok(readdirSync(directory).includes('orphan.key'), 'it is not removed');
});

test.run();
