/** One thing that was looked at. */
export interface Finding {
  readonly level: 'ok' | 'hint' | 'problem';
  /** What was looked at: an instance, a file, a socket. */
  readonly about: string;
  readonly text: string;
  /** What a person should do about it. */
  readonly remedy?: string;
}
