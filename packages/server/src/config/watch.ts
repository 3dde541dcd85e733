import { systemClock, watchDirectory } from '@teapot-kms/core';
import { dirname } from 'node:path';
import { parseConfig, readConfigText } from './load.ts';
import type { Config } from './schema.ts';

/** Time between two checks of the file in ms, for file systems without inotify. */
const POLL_MS = 10_000;

export interface ConfigListener {
  /** Receives a changed configuration that is valid. */
  readonly onChange: (config: Config) => void;
  /** Receives the problem of one that is invalid or cannot be read. The configuration in force stays. */
  readonly onInvalid: (error: Error) => void;
}

export interface ConfigWatch {
  /** Reads the file now. */
  check(): void;
  stop(): void;
}

/**
 * Watches a configuration, whichever way it is written: in place, by rename, or by the symlinks of a ConfigMap. Reports each new
 * content once.
 * @param seen - the text in force
 */
export function watchConfig(
  file: string,
  seen: string,
  { onChange, onInvalid }: ConfigListener,
  clock = systemClock,
): ConfigWatch {
  const check = (): void => {
    try {
      const text = readConfigText(file);
      if (text === seen) return;
      seen = text;
      onChange(parseConfig(text, file));
    } catch (error) {
      // Some editors remove the file for a moment.
      if ((error as { cause?: { code?: string } }).cause?.code !== 'ENOENT') onInvalid(error as Error);
    }
  };
  const stopWatching = watchDirectory(dirname(file), check);
  let cancelPoll = (): void => undefined;
  const poll = (): void => {
    cancelPoll = clock.after(POLL_MS, () => {
      check();
      poll();
    });
  };
  poll();
  const stop = (): void => {
    cancelPoll();
    stopWatching();
  };
  return { check, stop };
}
