import { globSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

const PACKAGES = join(import.meta.dirname, '../../..');
const LAUNCHER = join(PACKAGES, 'server/bin/teapot-kms');
/** What the plugin consists of. */
const BUILT = ['core', 'server'];
let checked = false;

/**
 * The path of `teapot-kms` as it ships: the launcher over the built `dist`. Every process that this one starts from now
 * on runs it on the Node that runs this process. `TEAPOT_TEST_LAUNCHER` names another one, such as that of a bundle.
 *
 * @throws Error when `dist` is missing or older than the sources
 */
export function launcher(): string {
  const other = process.env['TEAPOT_TEST_LAUNCHER'];
  if (other !== undefined) return other;
  if (!checked) BUILT.forEach(checkBuilt);
  checked = true;
  process.env['TEAPOT_KMS_NODE'] = process.execPath;
  return LAUNCHER;
}

/** The flags that the launcher gives to Node. */
export function nodeFlags(): string[] {
  const flags = /^FLAGS='(.+)'$/m.exec(readFileSync(LAUNCHER, 'utf8'))?.[1];
  if (flags === undefined) throw new Error(`${LAUNCHER} has no line FLAGS='...'`);
  return flags.split(' ');
}

function checkBuilt(name: string): void {
  const directory = join(PACKAGES, name);
  // tsc writes every file at each build.
  const built = statSync(join(directory, 'dist/index.js'), { throwIfNoEntry: false });
  const newer = globSync('src/**/*.ts', { cwd: directory }).find(
    (file) => built === undefined || statSync(join(directory, file)).mtimeMs > built.mtimeMs,
  );
  if (newer === undefined) return;
  const state = built ? `older than ${newer}` : 'missing';
  throw new Error(`packages/${name}/dist is ${state}: run npm run build first`);
}
