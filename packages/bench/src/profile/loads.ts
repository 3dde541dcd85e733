import { fileInstance } from '../file-instance.ts';
import type { PluginInstance } from '../load/plugin.ts';

/** What the plugin is looked at under. */
export interface ProfiledLoad {
  readonly name: string;
  readonly about: string;
  readonly inFlight: number;
  missing?(): string | undefined;
  instance(directory: string): Promise<PluginInstance>;
}

/** The first one is what is meant where none is named. */
export const profiledLoads: readonly [ProfiledLoad, ...ProfiledLoad[]] = [
  {
    name: 'decrypt-storm',
    about: 'Decrypt storm, keys in a file, 100 calls in flight',
    inFlight: 100,
    instance: (directory) => fileInstance(directory, 'main'),
  },
  {
    name: 'serial',
    about: 'one Decrypt after the other, keys in a file',
    inFlight: 1,
    instance: (directory) => fileInstance(directory, 'main'),
  },
];
