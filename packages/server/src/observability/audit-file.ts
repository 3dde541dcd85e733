import { constants, closeSync, fstatSync, openSync, write } from 'node:fs';
import type { LogWriter } from './log-output.ts';

/**
 * The file of the audit log. It is opened at the first line, and again after {@link AuditFile.reopen}, so that a program may
 * rename it meanwhile (logrotate). A file that cannot be opened is tried again with each line; then lines wait.
 */
export class AuditFile {
  readonly #path: string;
  readonly #onError: (error: unknown) => void;
  #descriptor: number | undefined;
  #stale = false;
  #reported = false;

  /** @param onError - called when the file cannot be opened, once until it can */
  constructor(path: string, onError: (error: unknown) => void) {
    this.#path = path;
    this.#onError = onError;
  }

  /** Opens the path again at the next line. */
  reopen(): void {
    this.#stale = true;
  }

  /** Writes one chunk at a time, by a thread of Node's pool: a write to a file blocks while its disk does. */
  readonly write: LogWriter = (bytes, done) => {
    this.#open();
    if (this.#descriptor === undefined) return done(0);
    write(this.#descriptor, bytes, (error, written) => done(error ? 0 : written));
  };

  /** If the path cannot be opened again, the file that is open is still better than none. */
  #open(): void {
    if (this.#descriptor !== undefined && !this.#stale) return;
    try {
      const next = openRegularFile(this.#path);
      if (this.#descriptor !== undefined) closeSync(this.#descriptor);
      this.#descriptor = next;
      this.#stale = false;
      this.#reported = false;
    } catch (error) {
      if (!this.#reported) this.#onError(error);
      this.#reported = true;
    }
  }
}

function openRegularFile(path: string): number {
  const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_NOCTTY } = constants;
  const descriptor = openSync(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0o600);
  if (fstatSync(descriptor).isFile()) return descriptor;
  closeSync(descriptor);
  throw new Error(`${path}: expected a regular file`);
}
