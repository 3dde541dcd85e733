import { systemClock, writableRemedy } from '@teapot-kms/core';
import type { Finding, StoredManifest } from '@teapot-kms/core';
import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { InstanceConfig } from '../config/schema.ts';
import { mayAccess } from './plugin-user.ts';
import type { PluginUser } from './plugin-user.ts';

/** @param pid - of the running plugin; without one, this shell stands for it */
export function coreDumps(pid: number | undefined): Finding {
  const about = 'core dumps';
  const of = pid === undefined ? 'for processes started in this shell' : `of process ${pid}`;
  const limit = /^Max core file size +(\S+)/m.exec(limitsOf(pid))?.[1];
  if (limit === '0') return { level: 'ok', about, text: `are off ${of}` };
  const text = `are on ${of} (limit ${limit ?? 'unknown'}); a core dump contains keys`;
  const remedy =
    'set LimitCORE=0 in the unit, or run "ulimit -c 0" before the plugin, as the unit and manifests in k8s/ do';
  return { level: 'hint', about, text, remedy };
}

function limitsOf(pid: number | undefined): string {
  try {
    return readFileSync(`/proc/${pid ?? 'self'}/limits`, 'utf8');
  } catch {
    return '';
  }
}

/** A clock that is far off makes certificates and tokens invalid, and orders keysets of version 1 wrongly. */
export function clockFinding(manifests: readonly StoredManifest[]): Finding[] {
  const now = systemClock.wall();
  const changes = manifests.flatMap(({ keys }) => keys.map(({ since }) => Date.parse(since)));
  const latest = Math.max(...changes);
  if (latest <= now + 24 * 3_600_000) return [];
  const text = `it is ${new Date(now).toISOString()} here, and a keyset was changed at ${new Date(latest).toISOString()}`;
  return [{ level: 'problem', about: 'clock', text, remedy: 'set the clock of this host, and synchronize it (NTP)' }];
}

export function socketDirectory({ name, socket }: InstanceConfig, user: PluginUser): Finding {
  const directory = dirname(socket);
  const about = `${name}, directory ${directory}`;
  const stat = statSync(directory, { throwIfNoEntry: false });
  const refused = whyNotWritable(stat ? directory : existingParent(directory), user);
  if (!stat && refused === undefined)
    return { level: 'hint', about, text: 'does not exist; "serve" creates it with mode 0700' };
  if (refused !== undefined) {
    const remedy = writableRemedy(directory, refused, user.uid);
    return { level: 'problem', about, text: `user ${user.uid} cannot write into it (${refused})`, remedy };
  }
  if ((stat!.mode & 0o002) !== 0) {
    return { level: 'problem', about, text: 'every user can replace the socket', remedy: `chmod 0700 ${directory}` };
  }
  if ((stat!.mode & 0o007) === 0) return { level: 'ok', about, text: 'is closed to other users' };
  return { level: 'hint', about, text: 'every user can list it', remedy: `chmod 0700 ${directory}` };
}

/** A running plugin says this itself. The directory is needed only to recognise a keyset that was rolled back (design D16). */
export function stateDirectory(directory: string, user: PluginUser): Finding[] {
  const refused = whyNotWritable(existingParent(directory), user);
  if (refused === undefined) return [];
  const text = `user ${user.uid} cannot write into it (${refused}): after a restart, a keyset that was rolled back is not recognised`;
  return [
    {
      level: 'hint',
      about: `state directory ${directory}`,
      text,
      remedy: writableRemedy(directory, refused, user.uid),
    },
  ];
}

function existingParent(path: string): string {
  return statSync(path, { throwIfNoEntry: false }) || path === '/' ? path : existingParent(dirname(path));
}

/** @returns the error code that the user would get */
function whyNotWritable(path: string, user: PluginUser): string | undefined {
  try {
    if (!statSync(path).isDirectory()) return 'ENOTDIR';
    accessSync(path, constants.W_OK | constants.X_OK);
    return mayAccess(user, path, 3) ? undefined : 'EACCES';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'EACCES';
  }
}
