import { shellWord } from '@teapot-kms/core';
import type { Owner } from '@teapot-kms/core';
import { readFileSync, statSync } from 'node:fs';
import { UsageError } from './exit-codes.ts';

interface Accounts {
  /** passwd(5) */
  readonly passwd: string;
  /** group(5) */
  readonly group: string;
}

const ofThisHost = (): Accounts => ({
  passwd: readFileSync('/etc/passwd', 'utf8'),
  group: readFileSync('/etc/group', 'utf8'),
});

/**
 * Reads USER[:GROUP], by name or number. Without a group, it is that of the user.
 * @throws {@link UsageError} for a user or group that this host does not know by name
 */
export function parseOwner(text: string, { passwd, group } = ofThisHost()): Owner {
  const [user = '', groupName, ...more] = text.split(':');
  if (more.length > 0 || user === '' || groupName === '')
    throw new UsageError(`--owner: expected USER or USER:GROUP, found ${JSON.stringify(text)}`);
  const account = lineOf(passwd, user);
  const uid = numberOf(account?.[2] ?? user);
  if (uid === undefined) throw new UsageError(`--owner: this host has no user ${JSON.stringify(user)}`);
  const gid = numberOf(groupName === undefined ? account?.[3] : (lineOf(group, groupName)?.[2] ?? groupName));
  if (gid !== undefined) return { uid, gid };
  throw new UsageError(
    groupName === undefined
      ? `--owner: this host does not know the group of user ${user}; name it: --owner ${user}:GROUP`
      : `--owner: this host has no group ${JSON.stringify(groupName)}`,
  );
}

/**
 * Checks that files of `owner` can be made here.
 * @param directory - of the keyset, which need not be there
 * @throws {@link UsageError}
 */
export function checkOwner({ uid, gid }: Owner, directory: string | undefined): void {
  if (directory === undefined) throw new UsageError('--owner: this key store has no files on this host');
  if (process.geteuid?.() !== 0)
    throw new UsageError('--owner: only root can give files to a user; run this command as that user, without --owner');
  const found = statSync(directory, { throwIfNoEntry: false });
  if (!found || found.uid === uid) return;
  throw new UsageError(
    `--owner: ${directory} is there and belongs to user ${found.uid}; change that first: chown -R ${uid}:${gid} ${shellWord(directory)}`,
  );
}

/** Fields of the line for a name or a number. A name wins, as in chown(1). */
function lineOf(file: string, wanted: string): string[] | undefined {
  const lines = file.split('\n').map((line) => line.split(':'));
  return lines.find(([name]) => name === wanted) ?? lines.find(([, , number]) => number === wanted);
}

/** The largest number means "no change" in chown(2). */
function numberOf(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,10}$/.test(text) && Number(text) < 0xffff_ffff ? Number(text) : undefined;
}
