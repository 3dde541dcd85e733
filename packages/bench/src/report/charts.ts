import type { ChartName } from '../results.ts';
import type { ScaleKind } from './scale.ts';

interface Axis {
  /** Names the unit in which scenarios record values. */
  readonly caption: string;
  readonly scale: ScaleKind;
}

export interface ChartStyle {
  readonly title: string;
  readonly x: Axis;
  readonly y: Axis;
  /** A horizontal line to compare with. */
  readonly reference?: { readonly y: number; readonly name: string };
}

/** Titles and axes of the charts. Scenarios record points in these units. */
export const CHART_STYLES: Readonly<Record<ChartName, ChartStyle>> = {
  'throughput-by-concurrency': {
    title: 'Throughput by calls in flight',
    x: { caption: 'calls in flight on one connection', scale: 'log' },
    y: { caption: 'Decrypts a second', scale: 'auto' },
  },
  'latency-percentiles': {
    title: 'How long a Decrypt takes at a fixed rate',
    x: { caption: 'percentile of calls', scale: 'percentile' },
    y: { caption: 'µs from when the call should have begun', scale: 'auto' },
  },
  'storm-timeline': {
    title: 'A Decrypt storm over time',
    x: { caption: 'ms since the first call', scale: 'linear' },
    y: { caption: 'Decrypts answered', scale: 'linear' },
  },
  'pool-crossover': {
    title: 'The crypto pool against sealing inline',
    x: { caption: 'requests in a batch', scale: 'log' },
    y: { caption: 'time with the pool ÷ inline', scale: 'log' },
    reference: { y: 1, name: 'inline' },
  },
};
