import { ConfigError, loadConfig } from '../config/load.ts';
import type { Command } from 'commander';
import { writeFileSync } from 'node:fs';
import { print, printError } from './output.ts';

interface SupportBundleOptions {
  readonly config: string;
  readonly to: string;
  readonly log?: string;
}

export function registerSupportBundle(program: Command): void {
  program
    .command('support-bundle')
    .description('Collect what a report of a problem needs: versions, configuration, doctor, status, metrics, log')
    .requiredOption('-c, --config <file>', 'the configuration')
    .requiredOption('--to <file>', 'the archive (.tar.gz) to write; an existing file is refused')
    .option('--log <file>', 'take the last lines of this log; default: of the unit teapot-kms in the journal')
    .addHelpText(
      'after',
      `
It contains no key, PIN or password: of a key URI only what errors show, and no file but the log. It names hosts, sockets, key ids
and, at level debug, uids. Look at it before you send it: tar -xzf FILE.tar.gz -O | less`,
    )
    .action(supportBundle);
}

async function supportBundle({ config: file, to, log }: SupportBundleOptions): Promise<void> {
  const { collect, packBundle } = await import('../support/bundle.ts');
  const { endOfFile } = await import('../support/log-end.ts');
  const logText = log === undefined ? undefined : endOfFile(log);
  const { files, missing } = await collect(configOrProblem(file), file, logText);
  writeFileSync(to, await packBundle(files), { mode: 0o600, flag: 'wx' });
  for (const problem of missing) printError(`not in it: ${problem}`);
  print(`${to}: ${[...files.keys()].join(', ')}`);
}

/** A configuration that is refused is a reason for a report. */
function configOrProblem(file: string) {
  try {
    return loadConfig(file);
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
}
