import { execFileSync } from 'node:child_process';
import { chmodSync, lstatSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The checkout. */
export const root = join(import.meta.dirname, '../..');

export const { version } = JSON.parse(readFileSync(join(root, 'packages/server/package.json'), 'utf8')) as {
  version: string;
};

/** Seconds since 1970 that every file of a package has: of the last commit, or `SOURCE_DATE_EPOCH`. */
export function sourceDateEpoch(): string {
  const given = process.env['SOURCE_DATE_EPOCH'];
  return given ?? execFileSync('git', ['log', '-1', '--format=%ct'], { cwd: root, encoding: 'utf8' }).trim();
}

/** Runs a program whose output depends on nothing but its input and the time of the release. */
export function run(command: string, args: readonly string[], options: { cwd?: string; input?: string } = {}): string {
  const env = { ...process.env, LC_ALL: 'C', TZ: 'UTC', SOURCE_DATE_EPOCH: sourceDateEpoch(), XZ_OPT: '', GZIP: '' };
  return execFileSync(command, args, { cwd: root, ...options, env, encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
}

/** The machine that this one builds for: Node's name, and Debian's. */
export const architecture = {
  node: process.arch,
  debian: process.arch === 'x64' ? 'amd64' : process.arch,
} as const;

/** Gives every file and directory below `directory` the mode that it has in a package, whatever the umask is. */
export function setModes(directory: string): void {
  chmodSync(directory, 0o755);
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) setModes(path);
    else if (entry.isFile()) chmodSync(path, (lstatSync(path).mode & 0o100) === 0 ? 0o644 : 0o755);
  }
}
