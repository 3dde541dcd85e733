import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { root, run } from './release.ts';

/** What is published, in the order of their dependencies. */
const PUBLISHED = ['core', 'server'];

/** Packs the npm packages, which `npm run build` has built, into `directory`. */
export function writeNpmPackages(directory: string): void {
  mkdirSync(directory, { recursive: true });
  const folders = PUBLISHED.map((name) => join(root, 'packages', name));
  run('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', directory, ...folders]);
}
