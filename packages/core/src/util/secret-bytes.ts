import { inspect } from 'node:util';

/**
 * Key material on its way from a store to its cipher: owns the buffer, prints as `[secret n bytes]` however it is
 * logged, and is wiped by {@link SecretBytes.wipe} (design D11, D12).
 */
export class SecretBytes {
  readonly #bytes: Buffer;

  /** Takes the buffer over: the caller must not use or keep it. */
  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  /** Length in bytes. */
  get length(): number {
    return this.#bytes.length;
  }

  /** The bytes themselves, not a copy. Not to be kept. */
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
