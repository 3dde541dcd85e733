import { redact } from '../../../util/redact.ts';
import { safeText } from '../../../util/safe-text.ts';
import type { HttpAnswer } from './http.ts';

/** Longest part of a server's answer that goes into an error, in characters. */
const MAX_TEXT = 200;
/** Longest answer with an error that is parsed, in bytes. The services' own have some hundred. */
const MAX_ERROR_BYTES = 64 * 1024;
/** How much of another one is looked at, in bytes. */
const LOOKED_AT_BYTES = 20_000;

/** What an OpenStack service says in an error answer. */
export interface ErrorBody {
  /** Safe in an error message: one line of at most 200 characters, without credentials. Empty if there is nothing to read. */
  readonly text: string;
  /** Whether the service itself answered and not a proxy before it: JSON in the service's own form, with the status in it. */
  readonly own: boolean;
}

type ErrorAnswer = Pick<HttpAnswer, 'status' | 'headers' | 'body' | 'secrets'>;

/**
 * Reads Keystone's `{"error":{"code","message","title"}}`, Barbican's `{"code","title","description"}`, and the plain text or HTML of
 * proxies and middleware.
 */
export function errorBody({ status, headers, body: answered, secrets = [] }: ErrorAnswer): ErrorBody {
  // A copy: an answer of any status may be unexpected, and one that is expected may be a key.
  const body = Buffer.from(answered.subarray(0, MAX_ERROR_BYTES));
  redact(body, secrets);
  const json = (answered.length > MAX_ERROR_BYTES ? undefined : parseJson(body)) as
    Record<string, unknown> | null | undefined;
  const inner: unknown = json?.['error'] ?? json;
  if (typeof inner === 'object' && inner !== null) {
    const { code, description, message, title, faultstring } = inner as Record<string, unknown>;
    const words = [description, message, faultstring, title].find((one) => typeof one === 'string' && one !== '');
    return { text: foreignText(typeof words === 'string' ? words : ''), own: code === status && words !== undefined };
  }
  const text = body.subarray(0, LOOKED_AT_BYTES).toString('utf8');
  const html = String(headers['content-type'] ?? '').includes('html') || text.trimStart().startsWith('<');
  return { text: foreignText(html ? (/<(?:title|h1)[^<>]*>([^<]*)</i.exec(text)?.[1] ?? '') : text), own: false };
}

/** @returns `undefined` if the body is not JSON */
export function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    return undefined;
  }
}

/**
 * Parses a time as OpenStack's services write it: in UTC, with or without a fraction and a zone. `Date` takes a time without a zone as
 * local time.
 * @returns ms since 1970, or NaN
 */
export function parseTime(text: unknown): number {
  if (typeof text !== 'string') return Number.NaN;
  return Date.parse(/(Z|[+-]\d\d:?\d\d)$/.test(text) ? text : `${text}Z`);
}

/** Some servers repeat the token that they refuse, so long words are left out. */
function foreignText(text: string): string {
  const looked = 16 * MAX_TEXT;
  // The last word may be the beginning of a token.
  const begin = text.length > looked ? `${text.slice(0, looked).replace(/[\w-]+$/, '')}…` : text;
  return safeText(begin.replace(/[\w-]{40,}/g, '[...]'), MAX_TEXT);
}
