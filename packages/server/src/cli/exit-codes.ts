/** Exit codes of `teapot-kms`. `--help` lists them. */
export const ExitCode = {
  OK: 0,
  /** The command was valid but failed. */
  FAILED: 1,
  /** The command line or the configuration is wrong. */
  USAGE: 2,
  /** `status` and `doctor` found a problem. */
  UNHEALTHY: 3,
} as const;

export const EXIT_CODES_HELP = `
Exit codes:
  0  success
  1  the command failed
  2  the command line or the configuration is wrong
  3  status, doctor: there is a problem`;

/** Ends a command with a message and an exit code. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly exitCode: number;

  constructor(exitCode: number, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.exitCode = exitCode;
  }
}
