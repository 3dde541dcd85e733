import { safeLines, safeText } from '@teapot-kms/core';

export type SetupErrorCode =
  | 'ERR_SETUP_ROLLED_BACK' // a step did not succeed in time, and its changes are undone
  | 'ERR_SETUP_KEPT' // a step did not succeed in time, and its changes must stay: data may need the plugin
  | 'ERR_SETUP_CHANGED' // somebody else changed a file meanwhile
  | 'ERR_SETUP_FAILED'; // something did not answer, or refused

/** A setup that did not succeed. No text holds a secret. */
export class SetupError extends Error {
  override readonly name = 'SetupError';
  readonly code: SetupErrorCode;
  readonly remedy: string;

  constructor(code: SetupErrorCode, message: string, remedy: string, cause?: unknown) {
    super(safeLines(message, 4_000), { cause });
    this.code = code;
    this.remedy = safeText(remedy, 1_000);
  }
}
