import type { Remark } from '@teapot-kms/core';

/** One thing that was looked at. */
export interface Finding extends Remark {
  /** What was looked at: an instance, a file, a socket. */
  readonly about: string;
}
