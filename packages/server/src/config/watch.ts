import { watchDirectory } from '@teapot-kms/core';
import { dirname } from 'node:path';
import { parseConfig, readConfigText } from './load.ts';
import type { Config } from './schema.ts';

/** Beside inotify, for file systems that have none. In ms. */
const POLL_MS = 10_000;

export interface ConfigWatchOptions {
  readonly file: string;
  /** The text that is in force. */
  readonly initialText: string;
  /** A changed configuration that is valid. */
  readonly onChange: (config: Config) => void;
  /** A changed configuration that is not; what was in force goes on. */
  readonly onInvalid: (error: Error) => void;
}

/**
 * Sees a configuration change however it is written: in place, by rename, or by the swap of a ConfigMap's symlinks. Each new content
 * is reported once.
 */
export class ConfigWatch {
  readonly #options: ConfigWatchOptions;
  readonly #stopWatching: () => void;
  readonly #poll: NodeJS.Timeout;
  #seen: string;

  constructor(options: ConfigWatchOptions) {
    this.#options = options;
    this.#seen = options.initialText;
    this.#poll = setInterval(() => this.check(), POLL_MS).unref();
    this.#stopWatching = watchDirectory(dirname(options.file), () => this.check());
  }

  /** Looks now; also called at SIGHUP. */
  check(): void {
    const { file, onChange, onInvalid } = this.#options;
    try {
      const text = readConfigText(file);
      if (text === this.#seen) return;
      this.#seen = text;
      onChange(parseConfig(text, file));
    } catch (error) {
      // A file that is away for a moment is somebody's way of writing it.
      if ((error as { cause?: { code?: string } }).cause?.code !== 'ENOENT') onInvalid(error as Error);
    }
  }

  stop(): void {
    clearInterval(this.#poll);
    this.#stopWatching();
  }
}
