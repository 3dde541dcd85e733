import { closeSync, constants, fstatSync, openSync, readSync, statSync } from 'node:fs';
import type { Stats } from 'node:fs';
import * as nodeFs from 'node:fs/promises';

/** A path that does not lead to a small regular file. The message names the path. */
export class FileRefused extends Error {
  override readonly name = 'FileRefused';
  /** Why, without the path. */
  readonly reason: string;

  constructor(path: string, reason: string) {
    super(`${path}: ${reason}`);
    this.reason = reason;
  }
}

/**
 * Without O_NONBLOCK, to open a FIFO would block one of the threads that all instances share until somebody writes to it. O_NOCTTY: a terminal
 * would become ours.
 */
const READ = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY;

/**
 * Reads a regular file whole. Everything that reads a file from outside uses this: a FIFO or device in place of the file, and a file that is
 * or becomes too long, are refused at once.
 *
 * @param maxBytes - the longest content
 * @returns the content. The caller wipes it if it is a secret
 * @throws {@link FileRefused}, and the errors of the file system
 */
export async function readSmallFile(path: string, maxBytes: number, fs = nodeFs): Promise<Buffer> {
  // Before it is opened: to open some devices does something.
  check(path, await fs.stat(path), maxBytes);
  const file = await fs.open(path, READ);
  try {
    const content = roomFor(check(path, await file.stat(), maxBytes));
    let length = 0;
    for (let read = 1; read > 0 && length < content.length; length += read) {
      read = (await file.read(content, length)).bytesRead;
    }
    return whole(path, content, length);
  } finally {
    await file.close();
  }
}

/** As {@link readSmallFile}, for a file that is read before there is anybody to wait for it. */
export function readSmallFileSync(path: string, maxBytes: number): Buffer {
  check(path, statSync(path), maxBytes);
  const file = openSync(path, READ);
  try {
    const content = roomFor(check(path, fstatSync(file), maxBytes));
    let length = 0;
    for (let read = 1; read > 0 && length < content.length; length += read) {
      read = readSync(file, content, length, content.length - length, null);
    }
    return whole(path, content, length);
  } finally {
    closeSync(file);
  }
}

function check(path: string, stats: Stats, maxBytes: number): Stats {
  // Reading a directory fails by itself.
  if (stats.isDirectory()) return stats;
  if (!stats.isFile()) throw new FileRefused(path, 'expected a regular file, found something else');
  if (stats.size > maxBytes) {
    throw new FileRefused(path, `too long: expected at most ${maxBytes} bytes, found ${stats.size}`);
  }
  return stats;
}

/** One byte more than the file has shows whether it grows. */
const roomFor = ({ size }: Stats): Buffer => Buffer.alloc(size + 1);

function whole(path: string, content: Buffer, length: number): Buffer {
  if (length < content.length) return content.subarray(0, length);
  content.fill(0);
  throw new FileRefused(path, 'the file grew while it was read');
}
