import { paced, systemClock, watchDirectory } from '@teapot-kms/core';
import { dirname } from 'node:path';
import { parseConfig, readConfigText } from './load.ts';
import type { Config } from './schema.ts';

/** Time between two checks of the file in ms, for file systems without inotify. */
const POLL_MS = 10_000;

/** Checks because something in the directory changed, which may be the log. */
const PACE = { burst: 5, everyMs: 500 };

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
 * content, and each new reason why it cannot be read, once.
 * @param seen - the text in force
 */
export function watchConfig(
  file: string,
  seen: string,
  { onChange, onInvalid }: ConfigListener,
  clock = systemClock,
): ConfigWatch {
  let problem: string | undefined;
  const check = (): void => {
    try {
      const text = readConfigText(file);
      problem = undefined;
      if (text === seen) return;
      seen = text;
      onChange(parseConfig(text, file));
    } catch (error) {
      const { message, cause } = error as Error & { cause?: { code?: string } };
      // Some editors remove the file for a moment.
      if (cause?.code === 'ENOENT' || message === problem) return;
      problem = message;
      onInvalid(error as Error);
    }
  };
  const changes = paced(clock, PACE, check);
  const stopWatching = watchDirectory(dirname(file), changes.call);
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
    changes.cancel();
    stopWatching();
  };
  return { check, stop };
}
