import type { Recorder } from './recorder.ts';

/** A measurement that `npm run bench NAME` runs. */
export interface Scenario {
  readonly name: string;
  /** The event in the life of a cluster that this measures, in one line. */
  readonly about: string;
  /** Returns the missing prerequisite and how to install it, or `undefined` if the scenario can run. */
  missing?(): string | undefined;
  run(record: Recorder): Promise<void>;
}
