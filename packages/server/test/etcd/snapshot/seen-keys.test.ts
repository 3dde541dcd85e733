import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { SeenKeys } from '../../../src/etcd/snapshot/seen-keys.ts';

test('each key is new once, also after the set has grown', () => {
  const seen = new SeenKeys();
  const keys = Array.from({ length: 5_000 }, (_, n) => Buffer.from(`/registry/secrets/default/s-${n}`));
  assert.ok(keys.every((key) => seen.add(key)));
  assert.not.ok(keys.some((key) => seen.add(key)));
  assert.ok(seen.add(Buffer.from('/registry/secrets/default/another')));
});

test.run();
