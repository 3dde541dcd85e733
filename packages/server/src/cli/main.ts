import { KmsError } from '@teapot-kms/core';
import { Command, CommanderError } from 'commander';
import { ConfigError } from '../config/load.ts';
import { version } from '../version.ts';
import { registerBarbicanKmsPlugin } from './barbican-kms-plugin.ts';
import { registerConfig } from './config.ts';
import { registerDoctor } from './doctor.ts';
import { EXIT_CODES_HELP, ExitCode, UsageError } from './exit-codes.ts';
import { registerInspect } from './inspect.ts';
import { registerKeys } from './keys.ts';
import { printError } from './output.ts';
import { registerScan } from './scan.ts';
import { registerServe } from './serve.ts';
import { registerStatus } from './status.ts';

const program = new Command('teapot-kms')
  .description('Kubernetes KMS plugin: encrypts the Secrets in etcd with a key that is not in etcd.')
  .version(version)
  .showHelpAfterError('(use --help for the options)')
  .exitOverride()
  .addHelpText(
    'after',
    `
To start, with a key in a directory:
  teapot-kms keys generate --uri file:/var/lib/teapot-kms/keys --create-parents
  teapot-kms config validate --config /etc/teapot-kms/config.yaml
  teapot-kms serve --config /etc/teapot-kms/config.yaml
  teapot-kms config encryption-configuration --config /etc/teapot-kms/config.yaml
To find and fix a problem:
  teapot-kms doctor --config /etc/teapot-kms/config.yaml
To see what encrypts the objects in etcd:
  teapot-kms scan --help
  teapot-kms inspect --help
${EXIT_CODES_HELP}`,
  );

registerServe(program);
registerKeys(program);
registerStatus(program);
registerConfig(program);
registerDoctor(program);
registerInspect(program);
registerScan(program);
registerBarbicanKmsPlugin(program);

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = report(error);
}

function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? ExitCode.OK : ExitCode.USAGE;
  if (error instanceof UsageError || error instanceof ConfigError) {
    printError(error.message);
    return ExitCode.USAGE;
  }
  if (error instanceof KmsError) {
    printError(`${error.message} (${error.code})`);
    if (error.remedy !== undefined) printError(`Fix: ${error.remedy}`);
    return error.code === 'ERR_KMS_INVALID_URI' ? ExitCode.USAGE : ExitCode.FAILED;
  }
  const { code, message } = error as NodeJS.ErrnoException;
  printError(typeof code === 'string' ? message : `unexpected: ${(error as Error).stack ?? String(error)}`);
  return ExitCode.FAILED;
}
