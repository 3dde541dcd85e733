/**
 * A time as OpenStack's services write it, in ms: UTC, with or without fraction and zone. `Date` would take one without a zone as
 * local time.
 */
export function parseTime(text: unknown): number {
  if (typeof text !== 'string') return Number.NaN;
  const found = /^(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(\.\d{1,9})?(Z|[+-]\d\d:?\d\d)?$/.exec(text);
  if (!found) return Number.NaN;
  const [, seconds = '', fraction = '', zone = 'Z'] = found;
  return Date.parse(`${seconds.replace(' ', 'T')}${fraction.slice(0, 4)}${zone}`);
}
