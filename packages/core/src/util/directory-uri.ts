import { isAbsolute, normalize } from 'node:path';

/**
 * Reads the directory in `SCHEME:/path` or `SCHEME:///path` as RFC 8089 has it: `%20` is a space, and `.`, `..` and doubled
 * slashes have no effect.
 * @returns `undefined` where the URI names no absolute directory of this host
 */
export function directoryOfUri(uri: string): string | undefined {
  const path = uri.replace(/^[a-z0-9+.-]+:(\/\/(?=\/))?/, '');
  if (!isAbsolute(path) || /^\/\/|[?#]/.test(path)) return undefined;
  const directory = decoded(path);
  if (directory === undefined || directory.includes('\0')) return undefined;
  return normalize(directory).replace(/(?<=.)\/$/, '');
}

/** The URI from which {@link directoryOfUri} reads `directory`. */
export function uriOfDirectory(scheme: string, directory: string): string {
  return `${scheme}:${directory.replace(/[%?#]/g, encodeURIComponent)}`;
}

function decoded(path: string): string | undefined {
  try {
    return decodeURIComponent(path);
  } catch {
    return undefined;
  }
}
