import { cpSync, mkdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { root, run, setModes } from './release.ts';

/** What is published, in the order of their dependencies. */
const PUBLISHED = ['core', 'server'];

/**
 * Packs the npm packages, which `npm run build` has built, into `directory`.
 * @param staging - an empty directory: npm packs the modes that files have, which depend on the checkout's umask
 */
export function writeNpmPackages(staging: string, directory: string): void {
  mkdirSync(directory, { recursive: true });
  const folders = PUBLISHED.map((name) => join(staging, name));
  for (const folder of folders) {
    const filter = (path: string): boolean => basename(path) !== 'node_modules';
    cpSync(join(root, 'packages', basename(folder)), folder, { recursive: true, filter });
  }
  setModes(staging);
  run('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', directory, ...folders]);
}
