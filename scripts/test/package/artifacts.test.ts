/** What `npm run package -- bundle npm` has made: nothing more is needed to run it, and the same sources give the same bytes. */
import { fullRun } from '@teapot-kms/testing';
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { root, sourceDateEpoch } from '../../package/release.ts';

const dist = join(root, 'dist');
const scratch = mkdtempSync(join(tmpdir(), 'teapot-artifacts-'));
test.after(() => rmSync(scratch, { recursive: true, force: true }));

const read = (path: string): string => readFileSync(path, 'utf8');
const json = (path: string): unknown => JSON.parse(read(path));
const npmPackages = globSync('npm/*.tgz', { cwd: dist }).map((name) => join(dist, name));

interface Bill {
  components: { name: string; version: string; purl: string; hashes: { content: string }[] }[];
}

test('another checkout, umask, language and time zone give the same bytes', () => {
  const copy = copyOfCheckout();
  try {
    const command = [
      process.execPath,
      '--conditions=teapot-source',
      'scripts/package/main.ts',
      ...(fullRun ? [] : ['bundle', 'npm']),
    ];
    if (fullRun) {
      for (const name of ['core', 'server'])
        execFileSync('node_modules/.bin/tsc', ['-p', `packages/${name}/tsconfig.build.json`], { cwd: copy });
    } else execFileSync('sh', ['-c', 'umask 077; cp -r --parents packages/*/dist "$0"', copy], { cwd: root });
    const env = { ...process.env, SOURCE_DATE_EPOCH: sourceDateEpoch(), LC_ALL: 'C.UTF-8', TZ: 'Pacific/Chatham' };
    execFileSync('sh', ['-c', 'umask 077; exec "$@"', 'sh', ...command], { cwd: copy, env });
    for (const [name, bytes] of contentOf(join(copy, 'dist'), fullRun)) {
      assert.ok(bytes.equals(readFileSync(join(dist, name))), `${name} differs`);
    }
    assert.equal([...contentOf(join(copy, 'dist'), fullRun).keys()], [...contentOf(dist, fullRun).keys()]);
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
});

/** The files as git would take them, with the installed packages. On the same file system, so that it can link to those. */
function copyOfCheckout(): string {
  const copy = mkdtempSync(join(mkdirIfMissing(join(root, '.cache')), 'second-'));
  const files = execFileSync('git', ['ls-files', '-zco', '--exclude-standard'], { cwd: root });
  execFileSync('xargs', ['-0', 'cp', '--parents', '-t', copy], { cwd: root, input: files });
  for (const folder of globSync(['node_modules', 'packages/*/node_modules'], { cwd: root }))
    execFileSync('cp', ['-al', join(root, folder), join(copy, folder)]);
  return copy;
}

function mkdirIfMissing(path: string): string {
  mkdirSync(path, { recursive: true });
  return path;
}

function contentOf(directory: string, all: boolean): Map<string, Buffer> {
  const files = globSync(all ? '**' : ['bundle/**', 'npm/*', 'LICENSES', '*.cdx.json'], {
    cwd: directory,
    withFileTypes: true,
  })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1));
  return new Map(files.sort().map((file) => [file, readFileSync(join(directory, file))]));
}

test('the bundle imports nothing but Node', () => {
  const imported = new Set(
    globSync('bundle/dist/cli/**/*.js', { cwd: dist }).flatMap((file) =>
      [...read(join(dist, file)).matchAll(/(?:^|;)(?:import|export)\b[^'";]*from\s*["']([^."'][^"']*)["']/gm)].map(
        (found) => found[1]!,
      ),
    ),
  );
  const others = [...imported].filter((name) => !name.startsWith('node:') && !isBuiltinName(name));
  assert.ok(imported.size > 10);
  assert.equal(others, []);
});

const isBuiltinName = (name: string): boolean => process.getBuiltinModule(name) !== undefined;

test('the bundle holds nothing that is for tests', () => {
  for (const file of globSync('bundle/**/*.js', { cwd: dist })) {
    assert.not.match(read(join(dist, file)), /FakeToken|FaultInjecting|ForwardClock/, file);
  }
});

test('crypto threads start from the bundle', () => {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--conditions=teapot-source', join(import.meta.dirname, 'seal-in-pool.ts'), join(dist, 'bundle/bin/teapot-kms')],
    { cwd: root, encoding: 'utf8', env: { ...process.env, TEAPOT_KMS_NODE: process.execPath }, timeout: 120_000 },
  );
  assert.is(status, 0, stdout + stderr);
});

test('the bill of materials names each component with version and hash, and so does the list of licences', () => {
  const { components } = json(join(dist, 'teapot-kms.cdx.json')) as Bill;
  const names = components.map(({ name }) => name);
  for (const name of ['node', 'pino', 'pkcs11js', '@grpc/grpc-js', 'zod', 'yaml', 'commander', 'piscina', 'lru-cache'])
    assert.ok(names.includes(name), name);
  const licences = read(join(dist, 'LICENSES'));
  for (const { name, version, purl, hashes } of components) {
    assert.ok(purl.endsWith(`@${version}`));
    assert.match(hashes[0]!.content, /^([0-9a-f]{64}|[0-9a-f]{128})$/);
    assert.ok(licences.includes(`${name} ${version}: `), name);
  }
});

test('the npm packages have a licence, a README and no tests, and the same licence as the project', () => {
  assert.is(npmPackages.length, 2);
  for (const file of npmPackages) {
    const names = execFileSync('tar', ['tzf', file], { encoding: 'utf8' }).trim().split('\n');
    for (const expected of ['package/LICENSE', 'package/README.md', 'package/dist/index.js'])
      assert.ok(names.includes(expected), `${file}: ${expected}`);
    assert.equal(
      names.filter((name) => /\/(test|integration|fakes|src)\//.test(name)),
      [],
    );
    assert.is(
      execFileSync('tar', ['xzOf', file, 'package/LICENSE'], { encoding: 'utf8' }),
      read(join(root, 'LICENSE')),
    );
  }
});

test('the npm packages install together into an empty directory on the oldest Node that they promise, and run there', () => {
  const floor = (json(join(root, 'packages/core/package.json')) as { engines: { node: string } }).engines.node.slice(2);
  const cache = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
  const arch = process.arch;
  const node = join(cache, `teapot-kms/node-${floor}/node_modules/node-linux-${arch}/bin/node`);
  if (!existsSync(node)) {
    console.log(`SKIPPED the npm packages on Node ${floor}: bash scripts/floor-node.sh`);
    return;
  }
  const directory = mkdirIfMissing(join(scratch, 'npm'));
  const env = { ...process.env, PATH: `${dirname(node)}:${process.env['PATH'] ?? ''}` };
  const run = (command: string, ...args: string[]): string =>
    execFileSync(command, args, { cwd: directory, env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  writeFileSync(join(directory, 'package.json'), '{"private":true,"type":"module"}');
  cpSync(join(import.meta.dirname, 'use-packages.ts'), join(directory, 'use.ts'));
  const packages = npmPackages.map((file) => `file:${file}`);
  run('npm', 'install', '--silent', '--no-audit', '--no-fund', '--engine-strict', ...packages);
  run(node, '--no-warnings', 'use.ts');
  const typescript = ['--noEmit', '--module', 'nodenext', '--target', 'es2024', '--strict', '--skipLibCheck'];
  const types = ['--types', 'node', '--typeRoots', join(root, 'node_modules/@types')];
  run(join(root, 'node_modules/.bin/tsc'), ...typescript, ...types, 'use.ts');
  run(join(directory, 'node_modules/.bin/teapot-kms'), 'keys', 'generate', '--uri', `file:${directory}/keys`);
});

test.run();
