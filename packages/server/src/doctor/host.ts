import { distrustOfPlace, systemClock } from '@teapot-kms/core';
import type { Finding, StoredManifest } from '@teapot-kms/core';
import { accessSync, constants, statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { InstanceConfig } from '../config/schema.ts';
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

/** A clock that is far off makes certificates and tokens invalid, and orders keysets of version 1 wrongly. */
export function clockFinding(manifests: readonly StoredManifest[]): Finding[] {
  const now = systemClock.wall();
  const changes = manifests.flatMap(({ keys }) => keys.map(({ since }) => Date.parse(since)));
  const latest = Math.max(...changes);
  if (latest <= now + 24 * 3_600_000) return [];
  const text = `it is ${new Date(now).toISOString()} here, and a keyset was changed at ${new Date(latest).toISOString()}`;
  return [{ level: 'problem', about: 'clock', text, remedy: 'set the clock of this host, and synchronize it (NTP)' }];
}

export function socketDirectory({ name, socket }: InstanceConfig): Finding {
  const directory = dirname(socket);
  const about = `${name}, directory ${directory}`;
  const stat = statSync(directory, { throwIfNoEntry: false });
  if (!stat) {
    const above = existingParent(directory);
    if (isWritable(above)) return { level: 'hint', about, text: 'does not exist; "serve" creates it with mode 0700' };
    return { level: 'problem', about, text: `does not exist, and ${above} cannot be written`, remedy: writable(above) };
  }
  // The plugin's user, who may not be the one that runs doctor.
  const distrust = distrustOfPlace(directory, [stat.uid]);
  if (distrust) {
    const { text, remedy } = distrust;
    return { level: 'problem', about, text: `others can replace the socket: ${text}`, remedy };
  }
  if (!isWritable(directory))
    return { level: 'problem', about, text: 'cannot be written', remedy: writable(directory) };
  if ((stat.mode & 0o007) === 0) return { level: 'ok', about, text: 'is closed to other users' };
  return { level: 'hint', about, text: 'every user can list it', remedy: `chmod 0700 ${directory}` };
}

function existingParent(directory: string): string {
  const parent = dirname(directory);
  return statSync(parent, { throwIfNoEntry: false }) || parent === directory ? parent : existingParent(parent);
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

const writable = (path: string): string =>
  `make ${path} writable for the user of the plugin: mount it read-write, or correct its owner`;
