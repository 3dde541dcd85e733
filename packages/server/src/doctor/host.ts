import { distrustOfPlace, shellWord, writableRemedy } from '@teapot-kms/core';
import type { Finding } from '@teapot-kms/core';
import { accessSync, constants, statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { InstanceConfig } from '../config/schema.ts';
import { above, mayAccess } from './plugin-user.ts';
import type { PluginUser } from './plugin-user.ts';
import type { RunningPlugin } from './running.ts';

/**
 * Judges what the running plugin says of itself. The limit of this process says nothing about it, and its process id may mean another process
 * here: the plugin may be in a container.
 */
export function coreDumps(running: RunningPlugin | undefined): Finding {
  const about = 'core dumps';
  if (!running) {
    const text = 'not checked, because no plugin is running';
    return { level: 'hint', about, text, remedy: 'run doctor again when the plugin is running' };
  }
  const { pid, coreLimit } = running;
  if (coreLimit === '0') return { level: 'ok', about, text: `are off in the plugin (process ${pid})` };
  const text = `are on in the plugin (process ${pid}, limit ${coreLimit ?? 'unknown'}); a core dump contains keys`;
  const remedy =
    'set LimitCORE=0 in the unit, or run "ulimit -c 0" before the plugin, as the unit and manifests in k8s/ do';
  return { level: 'hint', about, text, remedy };
}

export function socketDirectory({ name, socket, socketGroup }: InstanceConfig, user: PluginUser): Finding {
  const directory = dirname(socket);
  const word = shellWord(directory);
  const about = `${name}, directory ${directory}`;
  const stat = statSync(directory, { throwIfNoEntry: false });
  const refused = whyNotWritable(stat ? directory : existingParent(directory), user);
  if (!stat && refused === undefined)
    return { level: 'hint', about, text: 'does not exist; "serve" creates it with mode 0700' };
  if (refused !== undefined) {
    const remedy = writableRemedy(directory, refused, user.uid);
    return { level: 'problem', about, text: `user ${user.uid} cannot write into it (${refused})`, remedy };
  }
  // The plugin's user, who may not be the one that runs doctor.
  const distrust = distrustOfPlace(directory, [stat!.uid]);
  if (distrust) {
    const { text, remedy } = distrust;
    return { level: 'problem', about, text: `others can replace the socket: ${text}`, remedy };
  }
  if (socketGroup !== undefined) {
    const group = { uid: -1, groups: [socketGroup] };
    const closed = [...above(directory), directory].find((path) => !mayAccess(group, path, 1));
    const remedy =
      closed === directory
        ? `chgrp ${socketGroup} ${word} && chmod 0750 ${word}`
        : `chmod o+x ${shellWord(closed ?? '')}`;
    const text = `socketGroup ${socketGroup} cannot reach the socket: it may not enter ${closed}`;
    if (closed !== undefined) return { level: 'problem', about, text, remedy };
  }
  if ((stat!.mode & 0o007) === 0) return { level: 'ok', about, text: 'is closed to other users' };
  return { level: 'hint', about, text: 'every user can list it', remedy: `chmod 0700 ${word}` };
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
