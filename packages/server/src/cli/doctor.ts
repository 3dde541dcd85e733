import type { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import type { Finding } from '../doctor/finding.ts';
import { ExitCode } from './exit-codes.ts';
import { print } from './output.ts';

export function registerDoctor(program: Command): void {
  program
    .command('doctor')
    .description('Look for what is wrong, and say what to do, in the order in which to do it')
    .requiredOption('-c, --config <file>', 'the configuration')
    .option('--output <format>', 'text or json', 'text')
    .addHelpText(
      'after',
      '\nChanges nothing that is there; of Barbican it makes, reads and removes a test secret. Run it as the user that the plugin runs as: permissions are part of what it checks.',
    )
    .action(async ({ config: file, output }: { config: string; output: string }) => {
      const config = loadConfig(file);
      const { diagnose } = await import('../doctor/diagnose.ts');
      const findings: Finding[] = [{ level: 'ok', about: file, text: 'the configuration is valid' }];
      for await (const finding of diagnose(config)) findings.push(finding);
      const problems = findings.filter(({ level }) => level === 'problem');
      if (problems.length > 0) process.exitCode = ExitCode.UNHEALTHY;
      print(output === 'json' ? JSON.stringify(findings) : format(findings));
    });
}

function format(findings: readonly Finding[]): string {
  const marks = { ok: '[ ok ]', hint: '[hint]', problem: '[FAIL]' };
  const lines = findings.map(({ level, about, text }) => `${marks[level]} ${about}: ${text}`);
  const remedies = findings.flatMap(({ remedy }) => (remedy === undefined ? [] : [remedy]));
  const steps = [...new Set(remedies)].map((remedy, index) => `  ${index + 1}. ${remedy}`);
  return [...lines, '', steps.length === 0 ? 'Nothing to do.' : `What to do, in this order:\n${steps.join('\n')}`].join(
    '\n',
  );
}
