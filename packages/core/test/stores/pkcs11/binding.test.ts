// Without the native package everything else works, and a key in a token reports what to install.
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { newDirectory } from '@teapot-kms/testing';

const CORE = join(import.meta.dirname, '../../..');
const MODULES = join(CORE, '../../node_modules');

/** The sources of core, with all packages but pkcs11js: as after an installation without a compiler. */
function withoutBinding(): string {
  const root = newDirectory();
  cpSync(join(CORE, 'src'), join(root, 'src'), { recursive: true });
  writeFileSync(join(root, 'package.json'), '{ "type": "module" }');
  for (const name of readdirSync(MODULES)) {
    if (name === 'pkcs11js' || name === '@teapot-kms' || name.startsWith('.')) continue;
    mkdirSync(dirname(join(root, 'node_modules', name)), { recursive: true });
    symlinkSync(join(MODULES, name), join(root, 'node_modules', name));
  }
  return root;
}

const SCRIPT = `
import { providerFor, SharedResources } from './src/index.ts';
import { generateKey } from './src/keyset/administration.ts';
const signal = AbortSignal.timeout(10_000);
const open = (uri, settings = {}) => {
  const provider = providerFor(uri);
  return provider.open(uri, provider.settings.parse(settings), new SharedResources());
};
const file = open('file:' + process.cwd() + '/keys');
await generateKey(file.admin);
const { manifest } = await file.load({ signal });
const kek = open('pkcs11:token=t;object=kek?module-path=/no/such/module.so&pin-source=file:/no/such/pin', { keyset: process.cwd() + '/keys' });
const error = await kek.describe({ signal }).catch((error) => error);
console.log(JSON.stringify({ fileKeys: manifest.keys.length, code: error.code, remedy: error.remedy }));
`;

test('without pkcs11js a pkcs11: key reports what to install, and a file: keyset works', async () => {
  const cwd = withoutBinding();
  writeFileSync(join(cwd, 'main.ts'), SCRIPT);
  const { stdout } = await promisify(execFile)(process.execPath, ['main.ts'], { cwd });
  assert.equal(JSON.parse(stdout), {
    fileKeys: 1,
    code: 'ERR_KMS_STORE_UNAVAILABLE',
    remedy: 'install g++, make and python3, then run: npm install pkcs11js',
  });
});

test.run();
