import type * as nodeFs from 'node:fs/promises';

/** The codes with which a file system refuses to open a file, to read or to write it. */
export interface FsFaults {
  reads?: string | undefined;
  writes?: string | undefined;
}

/** As much of a file system in memory as a `DurableDirectory` needs. Every directory exists. */
export function memoryFs(faults: FsFaults = {}): typeof nodeFs {
  const files = new Map<string, Buffer>();
  const missing = (path: string) => Object.assign(new Error(`${path} is missing`), { code: 'ENOENT' });
  const done = () => Promise.resolve();
  const statOf = (path: string) => {
    const bytes = files.get(path);
    const kind = { isFile: () => bytes !== undefined, isDirectory: () => bytes === undefined };
    return Promise.resolve({ uid: 0, gid: 0, size: bytes?.length ?? 0, ...kind });
  };
  const fs = {
    // A file has a suffix; what else is asked for is a directory.
    stat: (path: string) => (/\.\w+$/.test(path) && !files.has(path) ? Promise.reject(missing(path)) : statOf(path)),
    open: (path: string, flags: string | number) => {
      const code = flags === 'wx' ? faults.writes : faults.reads;
      if (code !== undefined) return Promise.reject(Object.assign(new Error(`${code}, open '${path}'`), { code }));
      let at = 0;
      const writeFile = (bytes: Buffer) => Promise.resolve(void files.set(path, Buffer.from(bytes)));
      const read = (into: Buffer, offset: number) => {
        const bytesRead = files.get(path)!.copy(into, offset, at);
        at += bytesRead;
        return Promise.resolve({ bytesRead });
      };
      return Promise.resolve({ writeFile, read, stat: () => statOf(path), chown: done, sync: done, close: done });
    },
    rename: (from: string, to: string) => {
      files.set(to, files.get(from)!);
      files.delete(from);
      return done();
    },
    rm: (path: string) => Promise.resolve(void files.delete(path)),
  };
  return fs as unknown as typeof nodeFs;
}
