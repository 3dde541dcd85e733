import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { base64 } from '../../../src/stores/k8s-secret/secret-admin.ts';

test('bytes become the same base64 that Node makes of them', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      assert.is(base64(Buffer.from(bytes)).toString(), Buffer.from(bytes).toString('base64'));
    }),
  );
});

test.run();
