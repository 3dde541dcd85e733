import { accessSync, constants, lstatSync, readlinkSync, statSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { lstat, readlink, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { shellWord } from './shell-word.ts';

/** Why somebody else could change what is at a path, and what to do. */
export interface Distrust {
  readonly text: string;
  readonly remedy: string;
}

const WRITABLE_BY_OTHERS = 0o022;
const OPEN_TO_ALL = 0o007;
const STICKY = 0o1000;
/** As many as the kernel follows (path_resolution(7)). */
const MAX_LINKS = 40;

type Question = { readonly call: 'lstat' | 'readlink'; readonly path: string };

/**
 * Whether only root and `owners` can change what a path leads to, as sshd asks of its files (`safe_path` in OpenSSH's misc.c): each
 * directory, symbolic link and the file itself belongs to one of them, and no group or other user can write it. Others may write a sticky
 * directory, such as /tmp or a mounted Secret: what is in it cannot be replaced by them. A volume of the kubelet is read-only for all in the pod,
 * whatever its mode. A path that is not there is no problem here.
 * @param owners - user ids besides root. Default: the user of this process
 */
export function distrustOf(path: string, owners?: readonly number[]): Distrust | undefined {
  const walk = questions(path, owners);
  for (let step = walk.next(); ;) {
    if (step.done) return step.value;
    const { call, path: asked } = step.value;
    try {
      step = walk.next(call === 'lstat' ? lstatSync(asked) : readlinkSync(asked));
    } catch {
      return undefined;
    }
  }
}

/** {@link distrustOf}, for paths that may be on a file system that hangs. */
export async function distrustOfAsync(path: string, owners?: readonly number[]): Promise<Distrust | undefined> {
  const walk = questions(path, owners);
  for (let step = walk.next(); ;) {
    if (step.done) return step.value;
    const { call, path: asked } = step.value;
    try {
      step = walk.next(await (call === 'lstat' ? lstat(asked) : readlink(asked)));
    } catch {
      return undefined;
    }
  }
}

/**
 * {@link distrustOf} for a directory in which nobody else may make a name, such as that of a socket. A sticky directory is refused: others
 * could take the name while it is free.
 */
export function distrustOfPlace(directory: string, owners?: readonly number[]): Distrust | undefined {
  const distrust = distrustOf(directory, owners);
  if (distrust) return distrust;
  const stat = statSync(directory, { throwIfNoEntry: false });
  return stat && (stat.mode & WRITABLE_BY_OTHERS) !== 0 ? writableByOthers(directory, stat) : undefined;
}

/** Whether everyone can read a file, which has a secret in it. A file that is not there is no problem here. */
export async function exposureOf(path: string): Promise<Distrust | undefined> {
  const found = await stat(path).catch(() => undefined);
  if (!found || (found.mode & OPEN_TO_ALL) === 0) return undefined;
  return {
    text: `${path} contains a secret, and everyone can read it (${shownMode(found)})`,
    remedy: `chmod o= ${shellWord(path)}; of a mounted Secret, set defaultMode: 0400`,
  };
}

/** Asks for each component of a path, from the root on. */
function* questions(
  path: string,
  owners: readonly number[] = [process.geteuid?.() ?? 0],
): Generator<Question, Distrust | undefined, Stats | string> {
  let rest = resolve(path).split('/').slice(1);
  let at = '/';
  const root = judge(at, (yield { call: 'lstat', path: at }) as Stats, owners);
  if (root) return root;
  for (let links = 0; rest.length > 0 && links <= MAX_LINKS;) {
    const [name = '', ...after] = rest;
    const next = join(at, name);
    const stat = (yield { call: 'lstat', path: next }) as Stats;
    const problem = judge(next, stat, owners);
    if (problem) return problem;
    if (stat.isSymbolicLink()) {
      links++;
      const target = resolve(dirname(next), (yield { call: 'readlink', path: next }) as string);
      rest = [...target.split('/').slice(1), ...after].filter((part) => part !== '');
      at = '/';
    } else {
      rest = after;
      at = next;
    }
  }
  return undefined;
}

function judge(path: string, stat: Stats, owners: readonly number[]): Distrust | undefined {
  const { uid, mode } = stat;
  const shown = shownMode(stat);
  if (uid !== 0 && !owners.includes(uid)) {
    const user = owners[0] ?? 0;
    // What root owns, that user may not be able to read.
    const asThatUser = user === 0 ? `if the plugin runs as user ${uid}, run this as that user; else ` : '';
    return {
      text: `${path} belongs to user ${uid} (${shown}), who can change it`,
      remedy: `${asThatUser}find out why; if its content is right: chown ${stat.isSymbolicLink() ? '-h ' : ''}${user} ${shellWord(path)}`,
    };
  }
  // The mode of a link means nothing.
  if (stat.isSymbolicLink() || (mode & WRITABLE_BY_OTHERS) === 0) return undefined;
  if (stat.isDirectory() && (mode & STICKY) !== 0) return undefined;
  return isKubeletVolume(path, stat) ? undefined : writableByOthers(path, stat);
}

const writableByOthers = (path: string, stat: Stats): Distrust => ({
  text: `${path} can be written by others than its owner, user ${stat.uid} (${shownMode(stat)})`,
  remedy: `chmod go-w ${shellWord(path)}`,
});

const shownMode = ({ mode }: Stats): string => `mode ${(mode & 0o7777).toString(8).padStart(4, '0')}`;

/**
 * Whether a directory is a volume of the kubelet (ConfigMap, Secret, projected): a read-only mount with root's `..data` link in it. Its mode is
 * 0777, and not sticky unless it is in memory (`emptyDir` in Kubernetes' pkg/volume, which holds all of them). Being read-only is not enough:
 * systemd's ProtectSystem shows the unit all directories so, and others can still write them.
 */
function isKubeletVolume(path: string, { dev }: Stats): boolean {
  try {
    const data = lstatSync(join(path, '..data'));
    if (!data.isSymbolicLink() || data.uid !== 0 || lstatSync(dirname(path)).dev === dev) return false;
    accessSync(path, constants.W_OK);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EROFS';
  }
}
