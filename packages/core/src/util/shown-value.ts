import { safeText } from './safe-text.ts';

const MAX_CHARS = 80;

/** What was found in a place that holds no secret, for an error: JSON of at most 80 characters. */
export function shownValue(value: unknown): string {
  return value === undefined ? 'nothing' : safeText(JSON.stringify(value), MAX_CHARS);
}

/** What was found in a place that may hold a secret, by mistake or not: its kind, and nothing of a text or number. */
export function withheldValue(value: unknown): string {
  if (typeof value === 'string') return `a text of ${value.length} characters`;
  if (typeof value === 'number') return 'a number';
  if (typeof value !== 'object' || value === null || Object.keys(value).length === 0) return shownValue(value);
  return Array.isArray(value) ? 'a list' : 'a map';
}
