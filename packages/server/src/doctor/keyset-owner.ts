import { shellWord } from '@teapot-kms/core';
import type { Finding } from '@teapot-kms/core';
import { readFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { InstanceConfig, KeysConfig } from '../config/schema.ts';
import { directoryOf } from './concrete.ts';

/**
 * Root accepts the files of any owner, because the plugin often runs as another user than root, who runs commands. An owner who is neither of
 * them can change the keyset.
 * @param user - as whom the plugin runs
 * @returns what to say where the keyset directory of this host belongs to somebody else
 */
export async function foreignOwner(
  keys: KeysConfig,
  user: number,
): Promise<{ readonly text: string; readonly remedy: string } | undefined> {
  const directory = directoryOf(keys);
  if (directory === undefined) return undefined;
  const found = await stat(directory).catch(() => undefined);
  if (!found || found.uid === 0 || found.uid === user) return undefined;
  return {
    text: `${directory} belongs to user ${named(found.uid)}, who can change the keyset; the plugin runs as user ${named(user)}`,
    remedy: `find out why; if its content is right: chown -R ${user} ${shellWord(directory)}`,
  };
}

/** The number and, where the host knows it, the name (passwd(5)). */
function named(uid: number): string {
  try {
    const lines = readFileSync('/etc/passwd', 'utf8').split('\n');
    const name = lines.map((line) => line.split(':')).find((fields) => fields[2] === String(uid))?.[0];
    return name === undefined ? String(uid) : `${uid} (${name})`;
  } catch {
    return String(uid);
  }
}

/** {@link foreignOwner} as `doctor` says it. */
export async function ownerFinding({ name, keys }: InstanceConfig, user: number): Promise<Finding[]> {
  const found = await foreignOwner(keys, user);
  return found ? [{ level: 'hint', about: `${name}, keys`, ...found }] : [];
}
