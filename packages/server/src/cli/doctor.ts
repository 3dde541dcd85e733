import { safeLines, safeText } from '@teapot-kms/core';
import type { Finding } from '@teapot-kms/core';
import type { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { readReport } from './evidence.ts';
import { ExitCode } from './exit-codes.ts';
import { outputOption, print } from './output.ts';
import type { OutputFormat } from './output.ts';

/** Longest text of a finding, in characters. */
const MAX_TEXT = 8_000;

interface DoctorOptions {
  readonly config: string;
  readonly report?: readonly string[];
  readonly output: OutputFormat;
}

export function registerDoctor(program: Command): void {
  program
    .command('doctor')
    .description('Check host, key stores and sockets, and print what to do about each problem, in order')
    .requiredOption('-c, --config <file>', 'the configuration')
    .option('--report <file...>', 'compare with other replicas: files that "teapot-kms status --report" printed there')
    .addOption(outputOption())
    .addHelpText(
      'after',
      '\nIt changes nothing, except that it creates, reads and deletes a test secret in Barbican. Run it as root or as the user of the plugin: it checks what that user may read and write.',
    )
    .action(async ({ config: file, report = [], output }: DoctorOptions) => {
      const config = loadConfig(file);
      const reports = report.map(readReport);
      const { diagnose } = await import('../doctor/diagnose.ts');
      const findings: Finding[] = [{ level: 'ok', about: file, text: 'the configuration is valid' }];
      for await (const finding of diagnose(config, file, reports)) findings.push(safe(finding));
      const problems = findings.filter(({ level }) => level === 'problem');
      if (problems.length > 0) process.exitCode = ExitCode.UNHEALTHY;
      print(output === 'json' ? JSON.stringify(findings) : format(findings));
    });
}

/** A token's label, a server's name: parts of a finding come from outside. */
function safe({ level, about, text, remedy }: Finding): Finding {
  const known = { level, text: safeLines(text, MAX_TEXT) };
  return {
    ...known,
    ...(about !== undefined && { about: safeText(about, MAX_TEXT) }),
    ...(remedy !== undefined && { remedy: safeText(remedy, MAX_TEXT) }),
  };
}

function format(findings: readonly Finding[]): string {
  const marks = { ok: '[ ok ]', hint: '[hint]', problem: '[FAIL]' };
  const lines = findings.map(({ level, about, text }) => `${marks[level]} ${about ?? ''}: ${text}`);
  const remedies = findings.flatMap(({ remedy }) => (remedy === undefined ? [] : [remedy]));
  const steps = [...new Set(remedies)].map((remedy, index) => `  ${index + 1}. ${remedy}`);
  return [
    ...lines,
    '',
    steps.length > 0 ? `What to do, in this order:\n${steps.join('\n')}` : nothingToDo(findings),
  ].join('\n');
}

/** Only what passes by itself has no remedy, such as a plugin that is still starting. */
function nothingToDo(findings: readonly Finding[]): string {
  const isFine = findings.every(({ level }) => level !== 'problem');
  return isFine ? 'Nothing to do.' : 'Nothing to do yet: wait a few seconds, and run this again.';
}
