import { join } from 'node:path';
import type { FileChange, Step } from './plan-input.ts';
import { SetupError } from './setup-error.ts';
import type { Site } from './site.ts';

/** A step that has begun: what it takes to finish it, or to undo it, even if the process died. */
export interface Journal {
  readonly step: Step;
  readonly files: readonly FileChange[];
  /** When kube-apiserver's process had started. After a change of its manifest it must be another one. */
  readonly startedAt: number | undefined;
}

const fileOf = ({ backupDirectory }: Site): string => join(backupDirectory, 'journal.json');

export async function readJournal(site: Site): Promise<Journal | undefined> {
  const text = await site.files.read(fileOf(site));
  if (text === undefined) return undefined;
  try {
    const { step, startedAt, files } = JSON.parse(text) as Journal;
    // JSON leaves out what is undefined.
    return { step, startedAt, files: files.map(({ path, before, after }) => ({ path, before, after })) };
  } catch (cause) {
    const remedy = 'compare the files with the backups beside it, remove it, and run the command again';
    throw new SetupError('ERR_SETUP_FAILED', `${fileOf(site)} is damaged`, remedy, cause);
  }
}

/** Written before the first change of a step. */
export const writeJournal = (site: Site, journal: Journal): Promise<void> =>
  site.files.write(fileOf(site), `${JSON.stringify(journal)}\n`);

export const removeJournal = (site: Site): Promise<void> => site.files.remove(fileOf(site));

/**
 * Makes the changes of a step, those that are not made yet. The first text of each file is kept as a backup.
 * @throws {@link SetupError} `ERR_SETUP_CHANGED` for a file that is neither as before the step nor as after it. It stays as it is
 */
export async function apply(site: Site, { files }: Journal): Promise<void> {
  for (const { path, before, after } of files) {
    const now = await site.files.read(path);
    if (now === after) continue;
    if (now !== before) throw changed(path);
    if (before !== undefined) await backUp(site, path, before);
    await put(site, path, after);
  }
}

/** Undoes the changes of a step. @returns files that somebody else has changed meanwhile: they stay as they are */
export async function revert(site: Site, { files }: Journal): Promise<string[]> {
  const foreign: string[] = [];
  for (const { path, before, after } of files.toReversed()) {
    const now = await site.files.read(path);
    if (now === after) await put(site, path, before);
    else if (now !== before) foreign.push(path);
  }
  return foreign;
}

/** Where the first text of a file is kept. */
export const backupOf = ({ backupDirectory }: Pick<Site, 'backupDirectory'>, path: string): string =>
  join(backupDirectory, path.slice(1).replaceAll('/', '-'));

async function backUp(site: Site, path: string, text: string): Promise<void> {
  const backup = backupOf(site, path);
  if ((await site.files.read(backup)) === undefined) await site.files.write(backup, text);
}

const put = (site: Site, path: string, text: string | undefined): Promise<void> =>
  text === undefined ? site.files.remove(path) : site.files.write(path, text);

export const changed = (path: string): SetupError =>
  new SetupError(
    'ERR_SETUP_CHANGED',
    `${path} was changed by somebody else meanwhile; it stays as it is`,
    'look at the change, and run the command again',
  );
