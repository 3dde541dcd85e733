import { Kind, isPseudo } from './fields.ts';
import type { Field } from './fields.ts';

/** What the header block of one request says. One object serves a connection: it is reset before each block. */
export class RequestHead {
  path = '';
  isPost = false;
  isHead = false;
  isGrpc = false;
  /** Whether messages with the compressed flag name an encoding at all. */
  hasEncoding = false;
  isIdentity = true;
  /** ms; `Infinity` without a deadline, -1 when the field was malformed. */
  timeoutMs = Infinity;
  /** Bytes of all DATA, or -1 where the client does not say. */
  contentLength = -1;
  #malformed = false;
  #seen = 0;
  #regular = false;

  reset(): void {
    this.path = '';
    this.isPost = false;
    this.isHead = false;
    this.isGrpc = false;
    this.hasEncoding = false;
    this.isIdentity = true;
    this.timeoutMs = Infinity;
    this.contentLength = -1;
    this.#malformed = false;
    this.#seen = 0;
    this.#regular = false;
  }

  add({ kind, number, text }: Field): void {
    if (kind === Kind.MALFORMED) this.#malformed = true;
    else if (isPseudo(kind)) {
      if (this.#regular || (this.#seen & (1 << kind)) !== 0) this.#malformed = true;
    } else this.#regular = true;
    this.#seen |= 1 << kind;
    if (kind === Kind.PATH) this.path = text;
    else if (kind === Kind.TIMEOUT) this.timeoutMs = number;
    else if (kind === Kind.METHOD) {
      this.isPost = number === 1;
      this.isHead = number === 2;
    } else if (kind === Kind.CONTENT_TYPE) this.isGrpc = number === 1;
    else if (kind === Kind.CONTENT_LENGTH) this.contentLength = number;
    else if (kind === Kind.ENCODING) {
      this.hasEncoding = true;
      this.isIdentity = number === 1;
    }
  }

  /** RFC 9113 §8.3.1: a request has one each of `:method`, `:scheme` and `:path`. */
  get isMalformedRequest(): boolean {
    const required = (1 << Kind.METHOD) | (1 << Kind.SCHEME) | (1 << Kind.PATH);
    return this.#malformed || (this.#seen & required) !== required;
  }

  /** RFC 9113 §8.1: trailers have no pseudo-header fields. */
  get isMalformedTrailer(): boolean {
    const pseudo = (1 << Kind.METHOD) | (1 << Kind.SCHEME) | (1 << Kind.PATH) | (1 << Kind.AUTHORITY);
    return this.#malformed || (this.#seen & pseudo) !== 0;
  }
}
