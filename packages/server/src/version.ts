import { readFileSync } from 'node:fs';

const packageJson = new URL('../package.json', import.meta.url);

/** The plugin's version (semver), from its package.json. */
export const version = (JSON.parse(readFileSync(packageJson, 'utf8')) as { version: string }).version;
