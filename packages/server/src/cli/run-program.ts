import { KmsError } from '@teapot-kms/core';
import { CommanderError } from 'commander';
import type { Command } from 'commander';
import { ConfigError } from '../config/load.ts';
import { SetupError } from '../setup/setup-error.ts';
import { ExitCode, UsageError } from './exit-codes.ts';
import { printError, printProblem } from './output.ts';

/** Runs the command of this process, and sets its exit code. An error is printed with what to do. */
export async function runProgram(program: Command): Promise<void> {
  try {
    await program.parseAsync();
  } catch (error) {
    process.exitCode = report(error);
  }
}

function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? ExitCode.OK : ExitCode.USAGE;
  if (error instanceof UsageError || error instanceof ConfigError) {
    printError(error.message);
    return ExitCode.USAGE;
  }
  if (error instanceof KmsError || error instanceof SetupError) {
    printProblem(error);
    return error.code === 'ERR_KMS_INVALID_URI' ? ExitCode.USAGE : ExitCode.FAILED;
  }
  const { code, message } = error as NodeJS.ErrnoException;
  printError(typeof code === 'string' ? message : `unexpected: ${(error as Error).stack ?? String(error)}`);
  return ExitCode.FAILED;
}
