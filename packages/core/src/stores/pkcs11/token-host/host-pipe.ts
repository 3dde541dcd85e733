import type { Duplex } from 'node:stream';
import { isAnswerTo, isFromHost } from './answers.ts';
import { encodeMessage, MessageReader } from './message-pipe.ts';
import type { Ask, FromHost, ToHost } from './protocol.ts';

export interface HostPipeOptions {
  readonly onMessage: (message: FromHost) => void;
  /** Called once: the process has sent what no token host sends, and nothing more is read. */
  readonly onViolation: (reason: string) => void;
}

/**
 * The plugin's end of the pipe to the token host. It passes on only what a token host may send, and only answers to what was asked: in that
 * process there is a module that may write where it must not.
 */
export class HostPipe {
  readonly #pipe: Duplex | undefined;
  readonly #options: HostPipeOptions;
  /** What was asked and is not answered. */
  readonly #asked = new Map<number, Ask>();
  #closed = false;

  /** @param pipe - absent for a process that could not be started */
  constructor(pipe: Duplex | undefined, options: HostPipeOptions) {
    this.#pipe = pipe;
    this.#options = options;
    const reader = new MessageReader((message) => this.#take(message));
    pipe
      // A broken pipe belongs to a process that ends, which is reported elsewhere.
      ?.on('error', () => undefined)
      .on('data', (chunk: Buffer) => {
        if (this.#closed) return;
        try {
          reader.add(chunk);
        } catch (error) {
          this.#closed = true;
          options.onViolation(`it sent what no token host sends: ${(error as Error).message}`);
        }
      });
  }

  send(message: ToHost): void {
    if (message !== 'stop') for (const { id, ask } of message) this.#asked.set(id, ask);
    if (this.#pipe?.writable) this.#pipe.write(encodeMessage(message));
  }

  /** Nothing more is read. */
  close(): void {
    this.#closed = true;
  }

  /** @throws Error for what has no place here */
  #take(message: unknown): void {
    if (!isFromHost(message)) throw new Error('a message of no known form');
    if (message.type === 'replies') {
      for (const reply of message.replies) {
        const ask = this.#asked.get(reply.id);
        if (!ask) throw new Error('an answer to what was not asked');
        if (!isAnswerTo(ask, reply)) throw new Error(`an answer to "${ask.op}" that cannot be one`);
        this.#asked.delete(reply.id);
      }
    }
    this.#options.onMessage(message);
  }
}
