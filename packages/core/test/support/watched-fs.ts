import * as nodeFs from 'node:fs/promises';

/** Is told of each operation before it happens. What it throws, or never settles, stops the writer there. */
export type BeforeOperation = (operation: string, path: string, halfDone: () => Promise<void>) => void | Promise<void>;

type AnyFunction = (...args: unknown[]) => unknown;

/** `node:fs/promises`, and the files it opens, with `before` called ahead of each operation. */
export function watchedFs(before: BeforeOperation): typeof nodeFs {
  const wrap = (real: object, nameOf: (method: string, args: unknown[]) => [string, string], wrapResult: boolean) =>
    new Proxy(
      {},
      {
        get(_target, method) {
          const fn: unknown = Reflect.get(real, method);
          if (typeof fn !== 'function') return fn;
          const bound = (fn as AnyFunction).bind(real);
          return async (...args: unknown[]) => {
            const [operation, path] = nameOf(String(method), args);
            await before(operation, path, async () => {
              if (operation === 'file.writeFile') await bound(halfOf(args[0] as Buffer));
            });
            const result = await bound(...args);
            return wrapResult && operation === 'open' ? wrapFile(result as object, path) : result;
          };
        },
      },
    );
  const wrapFile = (file: object, path: string) => wrap(file, (method) => [`file.${method}`, path], false);
  return wrap(
    nodeFs,
    (method, args) => [method, String(method === 'symlink' ? args[1] : args[0])],
    true,
  ) as typeof nodeFs;
}

const halfOf = (bytes: Buffer): Buffer => bytes.subarray(0, bytes.length >> 1);
