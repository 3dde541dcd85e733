/** Runs the commands of docs/barbican.md against a real Keystone and a real Barbican. */
import { missingOpenStack, OpenStack } from '@teapot-kms/testing/daemons';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { root, runBlocks, runnableBlocks } from './run-blocks.ts';

const DOCUMENT = 'docs/barbican.md';
const blocks = runnableBlocks(readFileSync(join(root, DOCUMENT), 'utf8'));

test(`${DOCUMENT}: its ${blocks.length} runnable blocks run`, async () => {
  assert.ok(blocks.length > 3);
  const missing = missingOpenStack();
  if (missing !== undefined) {
    console.log(`\nSKIPPED the commands of ${DOCUMENT}: ${missing}`);
    return;
  }
  const directory = mkdtempSync(join(tmpdir(), 'teapot-os-'));
  const openStack = await OpenStack.start(join(directory, 'cloud'), { tokenCache: 300 });
  try {
    const { keystoneUrl, state } = openStack;
    const { id, secret } = state.application_credential;
    const login = `application-credential-id=${id}\napplication-credential-secret=${secret}`;
    const conf = `[Global]\nauth-url=${keystoneUrl}\n${login}\n`;
    await runBlocks(DOCUMENT, blocks, (scratch) =>
      writeFileSync(join(scratch, 'etc/teapot-kms/cloud.conf'), conf, { mode: 0o600 }),
    );
  } finally {
    await openStack.stop();
    rmSync(directory, { recursive: true, force: true });
  }
});

test.run();
