import type { CallNode } from './cpu-profile.ts';

/** The plugin's own code. */
export const OURS = 'the plugin';
export const IDLE = 'idle';

const BY_NAME = new Map([
  ['(idle)', IDLE],
  ['(garbage collector)', 'garbage collection'],
  // V8 reports this for a thread that runs no JavaScript: the event loop itself, nghttp2, system calls.
  ['(program)', 'native code outside of JavaScript'],
  ['(root)', 'native code outside of JavaScript'],
]);

const BY_URL: readonly (readonly [RegExp, string])[] = [
  [/\/(packages|@teapot-kms)\/(core|server)\//, OURS],
  [/^node:(internal\/)?http2/, 'node:http2'],
  [/^node:(internal\/)?crypto/, 'node:crypto'],
  [/^node:(net$|(internal\/)?(streams?|stream_base_commons|js_stream_socket|net)\b)/, 'node: sockets and streams'],
  [/^node:/, 'node: the rest'],
];

/** Native functions have no URL, or a text that is not a URL. */
const IS_URL = /^(file:|node:|\/)/;

/** Returns the owner of the code in which a node spent its own time. Time in native functions belongs to their caller. */
export function ownerOf(node: CallNode): string {
  const { functionName, url } = node.frame;
  const named = BY_NAME.get(functionName);
  if (named !== undefined) return named;
  if (!IS_URL.test(url)) return node.parent ? ownerOf(node.parent) : 'native code outside of JavaScript';
  for (const [pattern, owner] of BY_URL) if (pattern.test(url)) return owner;
  // The innermost package, if packages are nested.
  return [...url.matchAll(/\/node_modules\/((?:@[^/]+\/)?[^/]+)/g)].at(-1)?.[1] ?? 'other';
}

/** Returns a short position, such as `core/envelope/xaes.js:40`, `grpc-js/server.js:12` or `node:http2/core:2200`. */
export function whereIs({ url, lineNumber }: CallNode['frame']): string {
  if (!IS_URL.test(url)) return 'native';
  const path = url
    .replace(/^.*\/(?:packages|@teapot-kms)\/(core|server)\/(?:dist|src)\//, '$1/')
    .replace(/^.*\/node_modules\/(?:@[^/]+\/)?([^/]+)\/(?:(?:build|dist|lib|src)\/)*/, '$1/')
    .replace(/^node:(internal\/)?/, 'node:');
  return `${path}:${lineNumber + 1}`;
}
