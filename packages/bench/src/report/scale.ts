/** Maps measured values to positions on an axis. */
export interface Scale {
  /** Returns 0 at the start of the axis, 1 at its end, and undefined for a value without a position, such as 0 on a logarithmic axis. */
  at(value: number): number | undefined;
  readonly ticks: readonly { readonly at: number; readonly label: string }[];
  readonly logarithmic?: true;
}

export type ScaleKind = 'linear' | 'log' | 'auto' | 'percentile';

/** Above this ratio of largest to smallest value, `auto` is logarithmic: small values would be indistinguishable from 0. */
const WIDE = 30;

/** @param roundedEnds - true: the axis begins and ends at a tick; false: at the smallest and largest value */
export function scaleFor(kind: ScaleKind, values: readonly number[], roundedEnds: boolean): Scale {
  if (kind === 'percentile') return percentileScale(values);
  const smallest = Math.min(...values);
  const wide = kind === 'log' || (kind === 'auto' && smallest > 0 && Math.max(...values) / smallest > WIDE);
  return wide ? logScale(values, roundedEnds) : linearScale(values, roundedEnds);
}

/** Starts at 0, so that heights are in proportion to values. */
function linearScale(values: readonly number[], roundedEnds: boolean): Scale {
  const largest = Math.max(...values);
  const end = largest > 0 ? largest : 1;
  const step = roundStep(end / 5);
  const count = roundedEnds ? Math.ceil(end / step - 1e-9) : Math.floor(end / step + 1e-9);
  const ticks = Array.from({ length: count + 1 }, (_, index) => Number((index * step).toPrecision(12)));
  const top = roundedEnds ? count * step : end;
  return withTicks((value) => (value < 0 ? undefined : value / top), ticks, format);
}

/** Rounds up to 1, 2, 2.5 or 5 times a power of ten. */
function roundStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  return power * ([1, 2, 2.5, 5].find((factor) => factor * power >= least * (1 - 1e-9)) ?? 10);
}

function logScale(values: readonly number[], roundedEnds: boolean): Scale {
  const positive = values.filter((value) => value > 0);
  let [start, end] = positive.length > 0 ? [Math.min(...positive), Math.max(...positive)] : [1, 10];
  if (start === end) [start, end] = [start / 2, end * 2];
  const all = roundValues(start / 10, end * 10);
  if (roundedEnds) {
    start = all.findLast((value) => value <= start * (1 + 1e-9)) ?? start;
    end = all.find((value) => value >= end * (1 - 1e-9)) ?? end;
  }
  const span = Math.log(end / start);
  const inside = all.filter((value) => value >= start * (1 - 1e-9) && value <= end * (1 + 1e-9));
  const decades = inside.filter((value) => Math.abs(Math.log10(value) % 1) < 1e-9);
  const ticks = inside.length > 10 && decades.length > 1 ? decades : inside;
  const at = (value: number): number | undefined => (value > 0 ? Math.log(value / start) / span : undefined);
  return { ...withTicks(at, ticks, format), logarithmic: true };
}

/** Returns 1, 2 and 5 times each power of ten in this range. */
function roundValues(start: number, end: number): number[] {
  const found = [];
  for (let power = Math.floor(Math.log10(start)); power <= Math.ceil(Math.log10(end)); power++) {
    for (const factor of [1, 2, 5]) found.push(Number((factor * 10 ** power).toPrecision(12)));
  }
  return found;
}

const PERCENTILES = [0, 50, 90, 99, 99.9, 99.99, 99.999, 99.9999];

/** Each further nine takes the same width, so that the slowest calls are visible. */
function percentileScale(values: readonly number[]): Scale {
  // The 100th percentile has no finite position on this scale.
  const shown = values.filter((value) => value >= 0 && value < 100);
  const nines = (value: number): number => -Math.log10(1 - value / 100);
  const [start, last] = shown.length > 0 ? [Math.min(...shown), Math.max(...shown)] : [0, 99];
  const end = last > start ? last : 99 + start / 100;
  const span = nines(end) - nines(start);
  const ticks = PERCENTILES.filter((value) => value >= start && value <= end + 1e-9);
  const at = (value: number): number | undefined =>
    value >= 0 && value < 100 ? (nines(value) - nines(start)) / span : undefined;
  return withTicks(at, ticks, (value) => `${value} %`);
}

function withTicks(at: Scale['at'], values: readonly number[], label: (value: number) => string): Scale {
  return { at, ticks: values.map((value) => ({ at: at(value) ?? 0, label: label(value) })) };
}

function format(value: number): string {
  return value.toLocaleString('en-US', { maximumSignificantDigits: 6 });
}
