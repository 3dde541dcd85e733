/**
 * Checks what would be published: the packages are packed, installed into an empty directory without this workspace,
 * imported there, and the CLI is run through its launcher.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

const root = join(import.meta.dirname, '..');
const directory = mkdtempSync(join(tmpdir(), 'teapot-pack-'));
const env = { ...process.env, PATH: `${dirname(process.execPath)}:${process.env['PATH'] ?? ''}` };
const run = (command: string, ...args: string[]): string =>
  execFileSync(command, args, { cwd: directory, env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });

try {
  for (const name of ['core', 'server']) {
    run('npm', 'pack', '--silent', '--pack-destination', directory, join(root, 'packages', name));
  }
  const tarballs = readdirSync(directory).filter((name) => name.endsWith('.tgz'));
  writeFileSync(join(directory, 'package.json'), '{"private":true,"type":"module"}');
  run('npm', 'install', '--silent', '--no-audit', '--no-fund', ...tarballs.map((name) => `./${name}`));
  writeFileSync(
    join(directory, 'use.ts'),
    "import { CryptoEngine, EnvelopeKey, KmsError, newKeyId, SecretBytes } from '@teapot-kms/core';\nimport { version } from '@teapot-kms/server';\n" +
      "const id: string = newKeyId();\nif (new KmsError('ERR_KMS_CLOSED', id).code !== 'ERR_KMS_CLOSED' || !version) throw new Error('wrong');\n" +
      // This also checks that the file of the worker threads is packed.
      "const engine = new CryptoEngine('pool', { inlineBytes: 0 });\nconst key = new EnvelopeKey({ key: new SecretBytes(Buffer.alloc(32)), keyId: id, contextId: Buffer.alloc(16) });\n" +
      'await Promise.all([1, 2, 3, 4].map(async () => engine.seal(key, Buffer.alloc(32), { signal: new AbortController().signal })));\nawait engine.close();\n',
  );
  run(process.execPath, 'use.ts');
  run(
    join(root, 'node_modules/.bin/tsc'),
    '--noEmit',
    '--module',
    'nodenext',
    '--strict',
    '--skipLibCheck',
    '--types',
    'node',
    '--typeRoots',
    join(root, 'node_modules/@types'),
    'use.ts',
  );
  const version = run(join(directory, 'node_modules/.bin/teapot-kms'), '--version').trim();
  run(join(directory, 'node_modules/.bin/teapot-kms'), 'keys', 'generate', '--uri', `file:${join(directory, 'keys')}`);
  console.log(`packed, installed, imported and run: teapot-kms ${version}`);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
