import { join } from 'node:path';
import { architecture, run, setModes, sourceDateEpoch, version } from './release.ts';

/**
 * Packs a tree, to be unpacked below its prefix.
 * @param staging - a directory whose only entry is the tree
 */
export function writeTarball(staging: string, directory: string): string {
  setModes(staging);
  const file = join(directory, `teapot-kms-${version}-linux-${architecture.node}.tar.xz`);
  const order = ['--sort=name', '--owner=0', '--group=0', '--numeric-owner', `--mtime=@${sourceDateEpoch()}`];
  // One thread, because the bytes depend on how many there are.
  run('tar', ['-C', staging, ...order, '--format=gnu', '-I', 'xz -6 -T1', '-cf', file, '.']);
  return file;
}
