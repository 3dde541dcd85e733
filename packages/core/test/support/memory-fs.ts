import type * as nodeFs from 'node:fs/promises';

/** As much of a file system in memory as a `DurableDirectory` needs. Every directory exists. */
export function memoryFs(): typeof nodeFs {
  const files = new Map<string, Buffer>();
  const missing = (path: string) => Object.assign(new Error(`${path} is missing`), { code: 'ENOENT' });
  const done = () => Promise.resolve();
  const fs = {
    readFile: (path: string) => {
      const bytes = files.get(path);
      return bytes ? Promise.resolve(bytes.toString()) : Promise.reject(missing(path));
    },
    stat: () => Promise.resolve({ uid: 0, gid: 0 }),
    open: (path: string) => {
      const writeFile = (bytes: Buffer) => Promise.resolve(void files.set(path, Buffer.from(bytes)));
      return Promise.resolve({ writeFile, chown: done, sync: done, close: done });
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
