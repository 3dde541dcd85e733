import type { HttpAnswer } from './http.ts';

/** Most characters of a server's own words that are passed on. */
const MAX_TEXT = 200;

/**
 * What an OpenStack service says in an error. Keystone: `{"error":{"code","message","title"}}`, Barbican: `{"code","title",
 * "description"}`, proxies and middleware: plain text or HTML.
 */
export interface ErrorBody {
  /** One line, at most 200 characters; empty where there is nothing to be read. */
  readonly text: string;
  /** The service itself speaks, not something before it: JSON of its own form, with the status in it. */
  readonly own: boolean;
}

export function errorBody({ status, headers, body }: Pick<HttpAnswer, 'status' | 'headers' | 'body'>): ErrorBody {
  const json = parseJson(body) as Record<string, unknown> | null | undefined;
  const inner: unknown = json?.['error'] ?? json;
  if (typeof inner === 'object' && inner !== null) {
    const { code, description, message, title, faultstring } = inner as Record<string, unknown>;
    const words = [description, message, faultstring, title].find((one) => typeof one === 'string' && one !== '');
    return { text: oneLine(typeof words === 'string' ? words : ''), own: code === status && words !== undefined };
  }
  const text = body.subarray(0, 20_000).toString('utf8');
  const html = String(headers['content-type'] ?? '').includes('html') || text.trimStart().startsWith('<');
  const title = html ? (/<(?:title|h1)[^>]*>([^<]*)</i.exec(text)?.[1] ?? '') : text;
  return { text: oneLine(title), own: false };
}

/** `undefined` where it is no JSON. */
export function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    return undefined;
  }
}

/** Long words are left out: some servers repeat the token that they refuse. */
function oneLine(text: string): string {
  const line = text
    .replace(/[\p{C}\s]+/gu, ' ')
    .replace(/[\w-]{40,}/g, '[...]')
    .trim();
  return line.length > MAX_TEXT ? `${line.slice(0, MAX_TEXT)}...` : line;
}
