import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import type { LogWriter } from './log-output.ts';

/**
 * The file of the audit log. It is opened at the first line, and again after {@link AuditFile.reopen}, so that a program may
 * rename it meanwhile (logrotate). A file that cannot be opened is tried again with each line; then lines wait. A file
 * system that stands still holds up the lines and a thread of Node's pool, and no call.
 */
export class AuditFile {
  readonly #path: string;
  readonly #onError: (error: unknown) => void;
  #file: FileHandle | undefined;
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

  /** Writes one chunk at a time. */
  readonly write: LogWriter = (bytes, done) => {
    this.#write(bytes).then(done, () => done(0));
  };

  async #write(bytes: Buffer): Promise<number> {
    await this.#open();
    if (!this.#file) return 0;
    return (await this.#file.write(bytes)).bytesWritten;
  }

  /** If the path cannot be opened again, the file that is open is still better than none. */
  async #open(): Promise<void> {
    if (this.#file && !this.#stale) return;
    // Before the wait: a rename during it needs another.
    this.#stale = false;
    try {
      const next = await openRegularFile(this.#path);
      await this.#file?.close().catch(() => undefined);
      this.#file = next;
      this.#reported = false;
    } catch (error) {
      this.#stale = true;
      if (!this.#reported) this.#onError(error);
      this.#reported = true;
    }
  }
}

async function openRegularFile(path: string): Promise<FileHandle> {
  const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_NOCTTY } = constants;
  const file = await open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0o600);
  if ((await file.stat()).isFile()) return file;
  await file.close();
  throw new Error(`${path}: expected a regular file`);
}
