/** What a look at a key store has shown, for an operator (`teapot-kms doctor`). Holds no secret. */
export interface Finding {
  readonly level: 'ok' | 'hint' | 'problem';
  readonly text: string;
  /** What a person should do about it. */
  readonly remedy?: string;
}
