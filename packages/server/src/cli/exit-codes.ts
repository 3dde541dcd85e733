/** Exit codes of `teapot-kms`. */
export const ExitCode = { OK: 0, FAILED: 1, USAGE: 2, UNHEALTHY: 3 } as const;

export const EXIT_CODES_HELP = `
Exit codes:
  0  success
  1  the command failed
  2  the command line or the configuration is wrong
  3  status, doctor, inspect, scan: there is a problem; rotate, setup: the command has waited too long, or only an operator can go on`;

/** A wrong command line. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}
