import type { Series } from '../results.ts';
import type { ChartStyle } from './charts.ts';
import { placeLabels } from './labels.ts';
import { scaleFor } from './scale.ts';
import { CHART_CSS, COLOURS, DASHES } from './theme.ts';

const WIDTH = 800;
const HEIGHT = 400;
const TOP = 62;
const BOTTOM = 52;
/** Approximate width of a character at 13 px. */
const CHARACTER = 6.9;
const LINE_HEIGHT = 17;
/** A line with more points than this has no dots. */
const MANY_POINTS = 40;
/** Circle, square, triangle, diamond: lines differ in shape as well as in colour. */
const DOTS = [
  'M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z',
  'M-3.6-3.6h7.2v7.2h-7.2z',
  'M0-5l4.6 8.4h-9.2z',
  'M0-5l5 5-5 5-5-5z',
];

interface Line {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

/** Renders the lines as an SVG. Returns undefined if no point can be drawn. */
export function renderChart(style: ChartStyle, series: readonly Series[]): string | undefined {
  const finite = series.map(({ name, points }) => ({
    name,
    points: points.filter((point) => point.every(Number.isFinite)),
  }));
  const all = finite.flatMap(({ points }) => points);
  if (all.length === 0) return undefined;
  const reference = style.reference ? [style.reference.y] : [];
  const x = scaleFor(
    style.x.scale,
    all.map(([value]) => value),
    false,
  );
  const y = scaleFor(style.y.scale, [...all.map(([, value]) => value), ...reference], true);

  const width = (text: string): number => text.length * CHARACTER;
  const left = 14 + Math.max(...y.ticks.map(({ label }) => width(label)));
  const names = [...finite.map(({ name }) => name), ...(style.reference ? [style.reference.name] : [])];
  const right = WIDTH - 30 - Math.max(...names.map(width));
  const px = (at: number): number => round(left + at * (right - left));
  const py = (at: number): number => round(HEIGHT - BOTTOM - at * (HEIGHT - BOTTOM - TOP));

  const lines: Line[] = finite
    .map(({ name, points }) => ({
      name,
      points: points.flatMap((point) => place(point)).toSorted(([a], [b]) => a - b),
    }))
    .filter(({ points }) => points.length > 0);
  if (lines.length === 0) return undefined;

  function place([valueX, valueY]: readonly [number, number]): [number, number][] {
    const [atX, atY] = [x.at(valueX), y.at(valueY)];
    return atX === undefined || atY === undefined ? [] : [[px(atX), py(atY)]];
  }

  const level = style.reference && py(y.at(style.reference.y) ?? 0);
  // Among labels at the same height, the line that ends first gets the highest, so that no leader crosses another line.
  const wantedBy = ([x, y]: readonly [number, number]): number => y - (right - x) / 1000;
  const wanted = [...lines.map(({ points }) => wantedBy(points.at(-1)!)), ...(level === undefined ? [] : [level])];
  const looks = looksOf(lines.map(({ name }) => name));
  const labels = placeLabels(wanted, LINE_HEIGHT, TOP, HEIGHT - BOTTOM);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img" aria-label="${escape(style.title)}">`,
    `<style>${CHART_CSS}</style>`,
    text(4, 20, style.title, 'class="title"'),
    text(4, 44, style.y.caption + (y.logarithmic ? ' (logarithmic)' : '')),
    ...y.ticks.flatMap(({ at, label }) => [
      `<path class="${at === 0 ? 'axis' : 'grid'}" d="M${round(left)} ${py(at)}H${round(right)}"/>`,
      text(left - 8, py(at) + 4.5, label, 'text-anchor="end"'),
    ]),
    ...withRoom(
      x.ticks,
      (one) => px(one.at),
      (one) => width(one.label) + 10,
    ).flatMap(({ at, label }) => [
      `<path class="axis" d="M${px(at)} ${HEIGHT - BOTTOM}v5"/>`,
      text(px(at), HEIGHT - BOTTOM + 20, label, 'text-anchor="middle"'),
    ]),
    text((left + right) / 2, HEIGHT - 10, style.x.caption, 'text-anchor="middle"'),
    ...(level === undefined
      ? []
      : [
          `<path class="reference" d="M${round(left)} ${level}H${round(right)}"/>`,
          text(right + 12, labels.at(-1)! + 4.5, names.at(-1)!),
        ]),
    ...lines.flatMap((line, index) => drawLine(line, looks[index]!, right, labels[index]!)),
    '</svg>\n',
  ].join('\n');
}

interface Look {
  readonly colour: number;
  readonly dash: number;
}

/** Lines with the same name up to the first comma share a colour and differ in their dashes. */
function looksOf(names: readonly string[]): Look[] {
  const families = new Map<string, number>();
  const colours = new Map<string, number>();
  return names.map((name) => {
    const family = name.split(', ')[0]!;
    const dash = families.get(family) ?? 0;
    families.set(family, dash + 1);
    if (!colours.has(family)) colours.set(family, colours.size);
    return { colour: colours.get(family)! % COLOURS, dash: dash % DASHES.length };
  });
}

function drawLine({ name, points }: Line, { colour, dash }: Look, right: number, label: number): string[] {
  const [endX, endY] = points.at(-1)!;
  const group = [`<g class="s${colour}">`];
  if (points.length > 1)
    group.push(`<path class="line d${dash}" d="M${points.map((point) => point.join(' ')).join('L')}"/>`);
  if (points.length <= MANY_POINTS) {
    const dot = DOTS[colour % DOTS.length]!;
    for (const [x, y] of points) group.push(`<path class="dot" d="${dot}" transform="translate(${x} ${y})"/>`);
  }
  // A leader connects the end of the line with its label if they are apart.
  if (Math.abs(label - endY) > 3 || right - endX > 12) {
    group.push(`<path class="lead" d="M${endX + 6} ${endY}L${round(right + 9)} ${label}"/>`);
  }
  group.push(text(right + 12, label + 4.5, name, 'class="name"'), '</g>');
  return group;
}

/** Drops each tick whose label would overlap the previous one. */
function withRoom<T>(ticks: readonly T[], at: (tick: T) => number, room: (tick: T) => number): T[] {
  const kept: T[] = [];
  for (const tick of ticks) {
    const last = kept.at(-1);
    if (last === undefined || at(tick) - at(last) >= (room(tick) + room(last)) / 2) kept.push(tick);
  }
  return kept;
}

function text(x: number, y: number, content: string, attributes = ''): string {
  return `<text x="${round(x)}" y="${round(y)}" ${attributes}>${escape(content)}</text>`.replace(' >', '>');
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
