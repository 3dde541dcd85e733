import { shellWord } from '@teapot-kms/core';
import type { Finding } from '@teapot-kms/core';
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { InstanceConfig } from '../config/schema.ts';
import { directoryOf } from './concrete.ts';

/** Whoever runs the plugin. */
export interface PluginUser {
  readonly uid: number;
  readonly groups: readonly number[];
}

/** The process that runs "serve" with this configuration, whether or not it answers. */
export function servingProcess(file: string): number | undefined {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
  return pids.map(Number).find((pid) => servedFile(pid) === resolve(file));
}

function servedFile(pid: number): string | undefined {
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    const options = words.slice(words.indexOf('serve')).join('\0');
    const [, file] = /\0(?:--config|-c)[\0=]([^\0]+)/.exec(options) ?? [];
    return words.includes('serve') && file !== undefined ? resolve(readlinkSync(`/proc/${pid}/cwd`), file) : undefined;
  } catch {
    // It has ended, or is another user's.
    return undefined;
  }
}

/** `serve` under systemd; anybody can start a process with any environment, so no other directory counts. */
const CREDENTIALS = /(?:^|\0)CREDENTIALS_DIRECTORY=(\/run\/credentials\/[\w@.:\\-]+)(?:\0|$)/;

/**
 * Where systemd has put the credentials of the unit of a process: `doctor` runs outside of the unit, and looks for the PIN where the plugin
 * finds it. Nothing else of the environment is taken.
 * @param environ - of the process, as in /proc
 * @returns `undefined` if it has none, or cannot be seen
 */
export function credentialsOf(pid: number, environ = `/proc/${pid}/environ`): string | undefined {
  try {
    const [, directory] = CREDENTIALS.exec(readFileSync(environ, 'latin1')) ?? [];
    return directory === undefined || /(^|\/)\.{1,2}$/.test(directory) ? undefined : directory;
  } catch {
    // It has ended, or is another user's.
    return undefined;
  }
}

/** The user of a process; without one, the owner of the state directory, which the plugin has made; else this user. */
export function userOf(pid: number | undefined, stateDirectory: string): PluginUser {
  try {
    const status = pid === undefined ? '' : readFileSync(`/proc/${pid}/status`, 'utf8');
    const numbers = (name: string) =>
      new RegExp(`^${name}:\\s+(.*)$`, 'm').exec(status)?.[1]?.split(/\s+/).map(Number) ?? [];
    const [, uid] = numbers('Uid');
    if (uid !== undefined) return { uid, groups: [...numbers('Gid').slice(1, 2), ...numbers('Groups')] };
  } catch {
    // Not to be seen from here.
  }
  // A package makes the directory above it.
  const ownerOf = (path: string) => statSync(path, { throwIfNoEntry: false });
  const owner = ownerOf(stateDirectory) ?? ownerOf(dirname(stateDirectory));
  if (owner && owner.uid !== 0) return { uid: owner.uid, groups: [owner.gid] };
  return { uid: process.geteuid?.() ?? 0, groups: process.getgroups?.() ?? [] };
}

/** @param bits - 4 to read, 2 to write, 1 to enter */
export function mayAccess({ uid, groups }: PluginUser, path: string, bits: number): boolean {
  const { mode, uid: owner, gid } = statSync(path);
  if (uid === 0) return true;
  const shift = owner === uid ? 6 : groups.includes(gid) ? 3 : 0;
  return ((mode >> shift) & bits) === bits;
}

/** What the plugin's user cannot read of a keyset on this host, if somebody else runs `doctor`. */
export function unreadableFiles({ name, keys }: InstanceConfig, user: PluginUser): Finding[] {
  const directory = directoryOf(keys);
  if (directory === undefined || user.uid === process.geteuid?.()) return [];
  try {
    const closed = above(directory).find((path) => !mayAccess(user, path, 1));
    const files = readdirSync(directory).filter((file) => /^keyset\.yaml$|\.key$/.test(file));
    const own = [directory, ...files.map((file) => join(directory, file))];
    const path = closed ?? own.find((one) => !mayAccess(user, one, one === directory ? 5 : 4));
    if (path === undefined) return [];
    const remedy =
      closed === undefined ? `chown -R ${user.uid} ${shellWord(directory)}` : `chmod o+x ${shellWord(closed)}`;
    return [{ level: 'problem', about: `${name}, keys`, text: `${path}: user ${user.uid} cannot read it`, remedy }];
  } catch {
    // What is missing is reported elsewhere.
    return [];
  }
}

export function above(directory: string): string[] {
  const parent = dirname(directory);
  return parent === directory ? [] : [...above(parent), parent];
}
