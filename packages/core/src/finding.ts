/** One result of `teapot-kms doctor`, without secrets. */
export interface Finding {
  /** What was examined: an instance, a file, a socket. `doctor` adds it to the findings of a key store. */
  readonly about?: string;
  readonly level: 'ok' | 'hint' | 'problem';
  readonly text: string;
  /** What an operator should do about it. */
  readonly remedy?: string;
}
