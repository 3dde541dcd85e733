/**
 * Runs what the documents say: every block marked ```sh run of a document, in order, in one shell, with the system's
 * directories replaced by scratch ones and `teapot-kms` from this checkout. Links between documents must lead somewhere.
 */
import { freePort, SoftHsm } from '@teapot-kms/testing/daemons';
import { until } from '@teapot-kms/testing';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { root, runBlocks, runnableBlocks } from './run-blocks.ts';

const documents = globSync(['*.md', 'docs/**/*.md', 'k8s/**/*.md', 'packages/*/*.md'], {
  cwd: root,
  exclude: ['**/node_modules/**'],
});
const binding = join(root, 'node_modules/pkcs11js/build/Release/pkcs11.node');
/** What a document's blocks need and this machine lacks, with how to get it. */
const missing: Readonly<Record<string, string | undefined>> = {
  'docs/hsm-and-tpm.md':
    SoftHsm.missing() ?? (existsSync(binding) ? undefined : 'no pkcs11js: apt-get install g++ make python3; npm ci'),
};
/** Those that need a cloud have a test of their own. */
const ELSEWHERE = ['docs/barbican.md'];

for (const document of documents) {
  const text = readFileSync(join(root, document), 'utf8');
  const blocks = runnableBlocks(text);
  if (blocks.length > 0 && missing[document] !== undefined) {
    console.log(`SKIPPED the blocks of ${document}: ${missing[document]}`);
  } else if (blocks.length > 0 && !ELSEWHERE.includes(document)) {
    test(`${document}: its ${blocks.length} runnable blocks run`, () => runBlocks(document, blocks));
  }

  test(`${document}: its links lead to files that are there`, () => {
    for (const [, target] of text.matchAll(/\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)/g)) {
      assert.ok(existsSync(join(root, dirname(document), target!)), `${document} -> ${target!}`);
    }
  });
}

test('npm start makes a keyset, shows the plugin work and serves until SIGTERM', async () => {
  const scratch = mkdtempSync(join(tmpdir(), 'teapot-start-'));
  const start = spawn('bash', ['scripts/start.sh', join(scratch, 'demo'), String(await freePort())], { cwd: root });
  let printed = '';
  for (const stream of [start.stdout, start.stderr]) stream.on('data', (chunk) => (printed += String(chunk)));
  const ended = once(start, 'exit');
  try {
    await until('it serves', () => printed.includes('Serving until'));
  } finally {
    start.kill('SIGTERM');
    await ended;
  }
  for (const expected of [
    'the primary of a new keyset',
    'healthz=ok version=v2',
    'gave the same 32 bytes back',
    'one bit flipped',
    'kind: EncryptionConfiguration',
    `unix://${scratch}/demo/run/kms.sock`,
  ]) {
    assert.match(printed, expected);
  }
  assert.match(readFileSync(join(scratch, 'demo/plugin.log'), 'utf8'), 'stopped cleanly');
  rmSync(scratch, { recursive: true, force: true });
});

test.run();
