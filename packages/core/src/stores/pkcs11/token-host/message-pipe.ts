import { deserialize, serialize } from 'node:v8';

/** Bytes of one message. A list of all the keys that a token may have takes less. */
export const MAX_MESSAGE_BYTES = 4 * 2 ** 20;
const LENGTH_BYTES = 4;

/**
 * A message between plugin and token host, as the pipe carries it: its length, then the message. Node's own channel ends the plugin
 * for bytes that it does not understand, and a module may write to any descriptor of its process.
 */
export function encodeMessage(message: unknown): Buffer {
  const body = serialize(message);
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt32BE(body.length);
  return Buffer.concat([length, body]);
}

/** Puts the messages together again. */
export class MessageReader {
  readonly #onMessage: (message: unknown) => void;
  #chunks: Buffer[] = [];
  #held = 0;
  /** Bytes that the next message takes, as far as is known. */
  #needed = LENGTH_BYTES;

  constructor(onMessage: (message: unknown) => void) {
    this.#onMessage = onMessage;
  }

  /** @throws Error for what is no message, before more than {@link MAX_MESSAGE_BYTES} are held. Nothing may be added after that */
  add(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#held += chunk.length;
    if (this.#held < this.#needed) return;
    const bytes = this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks);
    let at = 0;
    for (;;) {
      this.#needed = LENGTH_BYTES;
      if (bytes.length - at < LENGTH_BYTES) break;
      const length = bytes.readUInt32BE(at);
      if (length > MAX_MESSAGE_BYTES) throw new Error(`a message of ${length} bytes`);
      this.#needed += length;
      if (bytes.length - at < this.#needed) break;
      const message: unknown = deserialize(bytes.subarray(at + LENGTH_BYTES, at + this.#needed));
      at += this.#needed;
      this.#onMessage(message);
    }
    this.#chunks = at < bytes.length ? [bytes.subarray(at)] : [];
    this.#held = bytes.length - at;
  }
}
