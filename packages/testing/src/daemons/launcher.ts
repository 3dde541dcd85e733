import { globSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '../../../..');
/** The folder where `npm run build` writes the program as packages contain it: a few files, with all that they need but Node. */
export const BUNDLE = join(ROOT, '.cache/bundle');
const LAUNCHER = join(BUNDLE, 'bin/teapot-kms');
let checked = false;

/**
 * The path of `teapot-kms` as it ships. Every process that this one starts from now on runs it on the Node that runs this
 * process.
 *
 * @throws Error when the bundle is missing or older than the sources
 */
export function launcher(): string {
  if (!checked) checkBuilt();
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

function checkBuilt(): void {
  const built = statSync(join(BUNDLE, 'dist/cli/main.js'), { throwIfNoEntry: false });
  const sources = globSync(['packages/{core,server}/src/**/*.ts', 'packages/server/bin/*'], { cwd: ROOT });
  const newer = sources.find((file) => built === undefined || statSync(join(ROOT, file)).mtimeMs > built.mtimeMs);
  if (newer === undefined) return;
  throw new Error(`the bundle in ${BUNDLE} is ${built ? `older than ${newer}` : 'missing'}: run npm run build first`);
}
