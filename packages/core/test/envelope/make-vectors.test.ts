import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

test('the committed vectors are those that the generator makes', async () => {
  const script = fileURLToPath(new URL('../../../../scripts/make-vectors.ts', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, ['--conditions=teapot-source', script, '--check']);
  assert.match(stdout, /files of vectors are up to date/);
});

test.run();
