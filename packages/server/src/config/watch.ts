import { systemClock, watchDirectory } from '@teapot-kms/core';
import type { Clock } from '@teapot-kms/core';
import { dirname } from 'node:path';
import { parseConfig, readConfigText } from './load.ts';
import type { Config } from './schema.ts';

/** Time between two checks of the file in ms, for file systems without inotify. */
const POLL_MS = 10_000;

export interface ConfigWatchOptions {
  readonly file: string;
  /** The text in force. */
  readonly initialText: string;
  /** Called for a changed configuration that is valid. */
  readonly onChange: (config: Config) => void;
  /** Called for a changed configuration that is invalid or cannot be read. The configuration in force stays. */
  readonly onInvalid: (error: Error) => void;
  readonly clock?: Clock;
}

/**
 * Watches a configuration, whichever way it is written: in place, by rename, or by the symlinks of a ConfigMap. Reports each new
 * content once.
 */
export class ConfigWatch {
  readonly #options: ConfigWatchOptions;
  readonly #stopWatching: () => void;
  readonly #clock: Clock;
  #cancelPoll: () => void = () => undefined;
  #seen: string;

  constructor(options: ConfigWatchOptions) {
    this.#options = options;
    this.#seen = options.initialText;
    this.#clock = options.clock ?? systemClock;
    this.#stopWatching = watchDirectory(dirname(options.file), () => this.check());
    this.#poll();
  }

  /** Reads the file now. */
  check(): void {
    const { file, onChange, onInvalid } = this.#options;
    try {
      const text = readConfigText(file);
      if (text === this.#seen) return;
      this.#seen = text;
      onChange(parseConfig(text, file));
    } catch (error) {
      // Some editors remove the file for a moment.
      if ((error as { cause?: { code?: string } }).cause?.code !== 'ENOENT') onInvalid(error as Error);
    }
  }

  stop(): void {
    this.#cancelPoll();
    this.#stopWatching();
  }

  #poll(): void {
    this.#cancelPoll = this.#clock.after(POLL_MS, () => {
      this.check();
      this.#poll();
    });
  }
}
