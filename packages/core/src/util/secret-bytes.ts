import { inspect } from 'node:util';

/**
 * Key material between a store and its cipher. Owns the buffer, prints as `[secret n bytes]` in every log, and is wiped by
 * {@link SecretBytes.wipe} (design D11, D12).
 */
export class SecretBytes {
  readonly #bytes: Buffer;

  /** Takes over the buffer. The caller must not use it any more. */
  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  /** Length in bytes. */
  get length(): number {
    return this.#bytes.length;
  }

  /** The bytes themselves, not a copy. Callers must not keep them. */
  expose(): Buffer {
    return this.#bytes;
  }

  wipe(): void {
    this.#bytes.fill(0);
  }

  toString(): string {
    return `[secret ${this.#bytes.length} bytes]`;
  }

  toJSON(): string {
    return this.toString();
  }

  [inspect.custom](): string {
    return this.toString();
  }
}
