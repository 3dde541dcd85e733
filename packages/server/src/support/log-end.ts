import { KmsError } from '@teapot-kms/core';
import { execFileSync } from 'node:child_process';
import { closeSync, constants, fstatSync, openSync, readSync, statSync } from 'node:fs';

/** Lines of a log that are taken, from its end. */
export const LOG_LINES = 2_000;
/** Longest line of a log, in characters. */
export const MAX_LINE = 8_000;
/** So much of a file has these lines. */
const MAX_FILE_BYTES = LOG_LINES * MAX_LINE;
/** journald's own longest line (`LineMax=`, journald.conf(5)). */
const MAX_JOURNAL_BYTES = LOG_LINES * 48 * 1024;
const TIMEOUT_MS = 30_000;

/**
 * Returns the end of a log file, from the start of a line on. The file may be of any length, and may grow.
 * @throws {@link KmsError} `ERR_KMS_INVALID_REQUEST` for what is no regular file. The errors of the file system
 */
export function endOfFile(path: string, maxBytes = MAX_FILE_BYTES): string {
  // Before it is opened: to open some devices does something.
  if (!statSync(path).isFile()) throw notRegular(path);
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    const stats = fstatSync(file);
    if (!stats.isFile()) throw notRegular(path);
    const from = Math.max(0, stats.size - maxBytes);
    const content = Buffer.alloc(stats.size - from);
    let length = 0;
    for (let read = 1; read > 0 && length < content.length; length += read)
      read = readSync(file, content, length, content.length - length, from + length);
    const text = content.toString('utf8', 0, length);
    return from === 0 ? text : text.slice(text.indexOf('\n') + 1);
  } finally {
    closeSync(file);
  }
}

/** The last lines of the plugin's unit. @throws Error without a journal */
export function endOfJournal(command = 'journalctl'): string {
  const args = ['--unit=teapot-kms', `--lines=${LOG_LINES}`, '--output=cat', '--no-pager', '--quiet'];
  return execFileSync(command, args, {
    encoding: 'utf8',
    timeout: TIMEOUT_MS,
    maxBuffer: MAX_JOURNAL_BYTES,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
}

const notRegular = (path: string): KmsError =>
  new KmsError('ERR_KMS_INVALID_REQUEST', `${path}: expected a regular file, found something else`);
