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
import { anchorsOf, relativeLinks } from './links.ts';
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
/** Those that need a cloud or a file beforehand have a test of their own. */
const ELSEWHERE = ['docs/barbican.md', 'docs/guides/cluster-api.md', 'docs/guides/disaster-recovery.md'];
const read = (document: string): string => readFileSync(join(root, document), 'utf8');

for (const document of documents) {
  const text = read(document);
  const blocks = runnableBlocks(text);
  if (blocks.length > 0 && missing[document] !== undefined) {
    console.log(`SKIPPED the blocks of ${document}: ${missing[document]}`);
  } else if (blocks.length > 0 && !ELSEWHERE.includes(document)) {
    test(`${document}: its ${blocks.length} runnable blocks run`, () => runBlocks(document, blocks));
  }

  test(`${document}: its links lead to files and headings that are there`, () => {
    for (const { path, anchor } of relativeLinks(text)) {
      const target = path === '' ? document : join(dirname(document), path);
      assert.ok(existsSync(join(root, target)), `${document} -> ${target}`);
      if (anchor === '' || !target.endsWith('.md')) continue;
      assert.ok(anchorsOf(read(target)).has(anchor), `${document} -> ${target}#${anchor}: no such heading`);
    }
  });
}

test('an anchor is made as GitHub makes it', () => {
  const anchors = anchorsOf('# A b: `c` (d)\n## [Key](x.md) é_1-2\n## A b c d\n```sh\n# no heading\n```\n');
  assert.equal([...anchors], ['a-b-c-d', 'key-é_1-2', 'a-b-c-d-1']);
});

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
