import { systemClock } from '@teapot-kms/core';
import type { Clock } from '@teapot-kms/core';
import { constants, fstatSync, openSync, write, writeSync } from 'node:fs';

/** Bytes of lines that wait while the log cannot be written. */
const MAX_WAITING_BYTES = 1024 * 1024;
/** Most bytes of one write, so that a queue of lines is not copied again and again. */
const WRITE_BYTES = 64 * 1024;
/** Time in ms between two attempts while the log cannot be written. */
const RETRY_MS = 100;

const STDERR = 2;

/** Begins to write `bytes`. `done` gets the number of bytes written; less than all if the log is full, stands still or is gone. */
export type LogWriter = (bytes: Buffer, done: (written: number) => void) => void;

/**
 * Where log lines go. A log that cannot be written (a full disk, a pipe whose reader stands still or is gone) never stops a call: lines wait in
 * a bounded buffer, later ones are dropped and counted, and the number is reported once the log works again.
 */
export class LogOutput {
  /** Lines that were dropped since the start. */
  dropped = 0;
  /** Called when the log works again, with the number of lines that were dropped meanwhile. */
  onDropped: (lines: number) => void = () => undefined;
  readonly #write: LogWriter;
  readonly #clock: Clock;
  #lines: Buffer[] = [];
  #bytes = 0;
  #reported = 0;
  #writing = false;
  #cancelRetry: (() => void) | undefined;
  #onEmpty: (() => void) | undefined;

  constructor(writer: LogWriter, clock: Clock = systemClock) {
    this.#write = writer;
    this.#clock = clock;
  }

  /** Takes a line. Never throws and never waits. */
  write(text: string): void {
    const line = Buffer.from(text);
    if (this.#bytes + line.length > MAX_WAITING_BYTES) {
      this.dropped++;
      return;
    }
    this.#lines.push(line);
    this.#bytes += line.length;
    if (!this.#cancelRetry) this.#flush();
  }

  /** Resolves when all lines are written, or after `ms`. */
  end(ms: number): Promise<void> {
    if (this.#bytes === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onEmpty = resolve;
      this.#clock.after(ms, resolve, true);
    });
  }

  #flush(): void {
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
    // A writer may be done before it returns: a loop, so that a long queue does not fill the stack.
    for (let more = true; more && !this.#writing && this.#bytes > 0;) {
      const chunk = this.#next();
      this.#writing = true;
      let returned = false;
      more = false;
      this.#write(chunk, (written) => {
        this.#writing = false;
        const whole = this.#wrote(chunk, written);
        if (!returned) more = whole;
        else if (whole) this.#flush();
      });
      returned = true;
    }
  }

  /** Merges lines into one write. */
  #next(): Buffer {
    let count = 0;
    let length = 0;
    while (count < this.#lines.length && (count === 0 || length + this.#lines[count]!.length <= WRITE_BYTES)) {
      length += this.#lines[count++]!.length;
    }
    const chunk = count === 1 ? this.#lines[0]! : Buffer.concat(this.#lines.slice(0, count), length);
    this.#lines.splice(0, count);
    return chunk;
  }

  /** @returns whether the whole chunk was written */
  #wrote(chunk: Buffer, written: number): boolean {
    this.#bytes -= written;
    if (written < chunk.length) {
      this.#lines.unshift(chunk.subarray(written));
      this.#cancelRetry = this.#clock.after(RETRY_MS, () => this.#flush());
      return false;
    }
    if (this.#bytes > 0) return true;
    const lines = this.dropped - this.#reported;
    this.#reported = this.dropped;
    if (lines > 0) this.onDropped(lines);
    if (this.#bytes === 0) this.#onEmpty?.();
    return true;
  }
}

/**
 * Returns a writer to stderr that never blocks this thread:
 * - A pipe or a terminal is opened once more through /proc, in non-blocking mode. The mode belongs to the open file, so those who share the
 *   descriptor with us keep theirs.
 * - A socket (journald) cannot be opened that way, and a pipe of another user must not be (a container's). Node's own stream for stderr makes
 *   them non-blocking.
 * - A write to a file blocks while its disk does, whatever the mode. So a thread of Node's pool writes, at most one at a time.
 */
export function stderrWriter(): LogWriter {
  if (fstatSync(STDERR).isFile()) {
    return (bytes, done) => write(STDERR, bytes, (error, written) => done(error ? 0 : written));
  }
  const open = nonBlockingStderr();
  return (bytes, done) => done(writtenTo(open, bytes));
}

function nonBlockingStderr(): number {
  try {
    const { O_WRONLY, O_APPEND, O_NONBLOCK, O_NOCTTY } = constants;
    return openSync(`/proc/self/fd/${STDERR}`, O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY);
  } catch {
    return process.stderr.fd;
  }
}

function writtenTo(descriptor: number, bytes: Buffer): number {
  try {
    return writeSync(descriptor, bytes);
  } catch {
    // EAGAIN: the pipe is full. EPIPE: nobody reads it, which may change for a named one.
    return 0;
  }
}
