import type { Finding as StoreFinding } from '@teapot-kms/core';

/** One thing that was looked at. */
export interface Finding extends StoreFinding {
  /** What was looked at: an instance, a file, a socket. */
  readonly about: string;
}
