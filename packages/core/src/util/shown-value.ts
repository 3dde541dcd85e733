import { safeText } from './safe-text.ts';

const MAX_CHARS = 80;

/** What was found in a place that holds no secret, for an error: JSON of at most 80 characters. */
export function shownValue(value: unknown): string {
  return value === undefined ? 'nothing' : safeText(preview(value, MAX_CHARS + 1), MAX_CHARS);
}

/** What was found in a place that may hold a secret, by mistake or not: its kind, and nothing of a text or number. */
export function withheldValue(value: unknown): string {
  if (typeof value === 'string') return `a text of ${value.length} characters`;
  if (typeof value === 'number') return 'a number';
  if (typeof value !== 'object' || value === null || Object.keys(value).length === 0) return shownValue(value);
  return Array.isArray(value) ? 'a list' : 'a map';
}

/** The first characters of a value as JSON; a few more than `chars`, however long and deep it is. */
function preview(value: unknown, chars: number): string {
  if (typeof value === 'string') return JSON.stringify(value.slice(0, chars));
  if (typeof value !== 'object' || value === null) return String(value);
  const isList = Array.isArray(value);
  let text = isList ? '[' : '{';
  for (const key in value) {
    if (text.length >= chars) return text;
    if (text.length > 1) text += ',';
    if (!isList) text += `${JSON.stringify(key.slice(0, chars))}:`;
    text += preview((value as Record<string, unknown>)[key], chars - text.length);
  }
  return text + (isList ? ']' : '}');
}
