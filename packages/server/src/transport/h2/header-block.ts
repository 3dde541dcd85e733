import { ConnectionError } from './errors.ts';
import { MAX_CONTINUATIONS, MAX_HEADER_BLOCK_BYTES } from './limits.ts';

/** Collects a header block that comes in several frames (RFC 9113 §4.3). Its bounds are checked before anything is decoded. */
export class HeaderBlock {
  /** The stream whose CONTINUATION must come next; 0 when none must. */
  pendingId = 0;
  endsStream = false;
  bytes = Buffer.alloc(0);
  #frames = 0;

  begin(id: number, endsStream: boolean, bytes: Buffer, start: number, end: number): void {
    this.pendingId = id;
    this.endsStream = endsStream;
    this.#frames = 0;
    this.bytes = Buffer.from(bytes.subarray(start, end));
  }

  /** @throws {@link ConnectionError} `ENHANCE_YOUR_CALM` (the CONTINUATION floods of 2024) */
  add(bytes: Buffer, start: number, end: number): void {
    const tooMany = ++this.#frames > MAX_CONTINUATIONS;
    if (tooMany || this.bytes.length + end - start > MAX_HEADER_BLOCK_BYTES)
      throw new ConnectionError('ENHANCE_YOUR_CALM', 'the header block is too long');
    this.bytes = Buffer.concat([this.bytes, bytes.subarray(start, end)]);
  }

  finish(): Buffer {
    const { bytes } = this;
    this.pendingId = 0;
    this.bytes = Buffer.alloc(0);
    return bytes;
  }
}
