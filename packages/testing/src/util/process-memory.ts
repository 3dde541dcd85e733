import { closeSync, openSync, readFileSync, readSync } from 'node:fs';

/** The regions of writable memory of a process, as in a dump of its core. */
export function* writableMemory(pid: number): Iterable<Buffer> {
  const memory = openSync(`/proc/${String(pid)}/mem`, 'r');
  try {
    for (const line of readFileSync(`/proc/${String(pid)}/maps`, 'utf8').split('\n')) {
      const [, from, to] = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line) ?? [];
      if (from === undefined || to === undefined || /\[v(var|syscall|dso)/.test(line)) continue;
      yield contentOf(memory, parseInt(from, 16), parseInt(to, 16));
    }
  } finally {
    closeSync(memory);
  }
}

/** Where a byte string is. */
export function* occurrences(content: Buffer, needle: Buffer): Iterable<number> {
  for (let at = content.indexOf(needle); at >= 0; at = content.indexOf(needle, at + 1)) yield at;
}

/** What was never touched cannot be read, which is as good as empty. */
function contentOf(memory: number, from: number, to: number): Buffer {
  const content = Buffer.alloc(Math.min(to - from, 512 * 2 ** 20));
  let length = 0;
  try {
    while (length < content.length) {
      const read = readSync(memory, content, length, content.length - length, from + length);
      if (read === 0) break;
      length += read;
    }
  } catch {
    // The region is gone, or ends here.
  }
  return content.subarray(0, length);
}
