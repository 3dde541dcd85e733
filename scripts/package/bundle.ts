import { build } from 'esbuild';
import type { Metafile } from 'esbuild';
import { cpSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root, version } from './release.ts';

/** Files that are started by their path, by where the code that starts them looks: beside itself. */
const ENTRIES = {
  main: 'packages/server/src/cli/main.ts',
  worker: 'packages/core/src/crypto/worker.ts',
  'child/main': 'packages/core/src/stores/pkcs11/token-host/child/main.ts',
  'child/worker': 'packages/core/src/stores/pkcs11/token-host/child/worker.ts',
  'lib/worker': 'node_modules/piscina/dist/worker.js',
};

/** For CommonJS packages. The only one that uses `__dirname` on a path of ours is Piscina, for its `worker.js`. */
const BANNER = `import { createRequire as __createRequire } from 'node:module';
const require = __createRequire(import.meta.url);
const __dirname = import.meta.dirname + '/lib';`;

/** What Piscina requires only for an option that we do not use. */
const EXTERNAL = ['@napi-rs/nice'];

const PKCS11JS = ['package.json', 'LICENSE', 'index.js', 'build/Release/pkcs11.node'];

/**
 * Writes the program and all that it needs, without Node, to `directory`: `bin/teapot-kms` and `dist`.
 * @returns what esbuild put into which file
 */
export async function writeBundle(directory: string): Promise<Metafile> {
  const cli = join(directory, 'dist/cli');
  const { metafile, warnings } = await build({
    absWorkingDir: root,
    entryPoints: ENTRIES,
    outdir: cli,
    // Beside the entries, because code in any of these files looks there for the entries.
    chunkNames: '[name]-[hash]',
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node22.21',
    conditions: ['teapot-source'],
    // npm has one copy for each package.
    alias: { yaml: join(root, 'packages/core/node_modules/yaml') },
    external: EXTERNAL,
    banner: { js: BANNER },
    // Less to read at each start, and for memory to hold. Stack traces in bug reports still name functions, and short lines.
    minifySyntax: true,
    minifyWhitespace: true,
    lineLimit: 160,
    legalComments: 'none',
    metafile: true,
    logLevel: 'error',
  });
  if (warnings.length > 0) throw new Error(warnings.map(({ text }) => text).join('\n'));
  // Also makes Node take the files for ES modules.
  const about = { name: 'teapot-kms', version, private: true, type: 'module' };
  writeFileSync(join(directory, 'dist/package.json'), `${JSON.stringify(about, undefined, 2)}\n`);
  copyBinding(join(directory, 'dist/node_modules/pkcs11js'));
  mkdirSync(join(directory, 'bin'));
  cpSync(join(root, 'packages/server/bin/teapot-kms'), join(directory, 'bin/teapot-kms'));
  return metafile;
}

/** Native code cannot be bundled. */
function copyBinding(to: string): void {
  const from = join(root, 'node_modules/pkcs11js');
  if (!existsSync(join(from, 'build/Release/pkcs11.node')))
    throw new Error('pkcs11js is not compiled here: apt-get install g++ make python3, then npm ci');
  for (const file of PKCS11JS) cpSync(join(from, file), join(to, file));
}

/** The folders of the packages that are in the bundle, such as `node_modules/pino`. */
export function bundledPackages({ outputs }: Metafile): string[] {
  const inputs = Object.values(outputs).flatMap((output) =>
    Object.entries(output.inputs).filter(([, { bytesInOutput }]) => bytesInOutput > 0),
  );
  const folders = inputs.flatMap(([file]) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0] ?? []);
  return [...new Set([...folders, 'node_modules/pkcs11js'])].sort();
}
