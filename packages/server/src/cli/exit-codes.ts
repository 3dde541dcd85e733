/** What `teapot-kms` exits with; `--help` shows the same. */
export const ExitCode = {
  OK: 0,
  /** It was understood but could not be done. */
  FAILED: 1,
  /** Command line or configuration cannot be understood. */
  USAGE: 2,
  /** `status` and `doctor`: they ran, and found something wrong. */
  UNHEALTHY: 3,
} as const;

export const EXIT_CODES_HELP = `
Exit codes:
  0  done, or all is well
  1  could not be done
  2  the command line or the configuration is wrong
  3  status, doctor: something is not well`;

/** Ends a command with a message for a person and an exit code. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly exitCode: number;

  constructor(exitCode: number, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.exitCode = exitCode;
  }
}
