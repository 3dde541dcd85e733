import type { Recorder } from './recorder.ts';

/** Something that is measured, by a name that can be given to `npm run bench`. */
export interface Scenario {
  readonly name: string;
  /** What it stands for in the life of a cluster, in a line. */
  readonly about: string;
  /** What is not there that it needs, and how to get it. */
  missing?(): string | undefined;
  run(record: Recorder): Promise<void>;
}
