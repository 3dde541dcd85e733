import type { InstanceDescription } from '../../src/observability/metrics.ts';

/** An instance that has no keys yet. */
export const describedInstance = (changes: Partial<InstanceDescription> = {}): InstanceDescription => ({
  instance: 'a',
  version: '1',
  pid: 1,
  uri: 'file:/keys',
  primary: undefined,
  keyset: undefined,
  keys: [],
  lastGoodProbeAgeMs: undefined,
  warnings: [],
  hints: [],
  counters: {},
  listening: true,
  inFlight: 0,
  keySince: 0,
  connections: { refused: 0, ended: {} },
  ...changes,
});
