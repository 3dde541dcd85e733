import { allCommands, describeCommand } from '@teapot-kms/server/internal/commands';
import type { CommandDescription, createProgram, OptionDescription } from '@teapot-kms/server/internal/commands';
import { sourceDateEpoch, version } from './release.ts';

/** teapot-kms(1), from the commands themselves. */
export function manualPage(command: ReturnType<typeof createProgram>): string {
  const program = describeCommand(command);
  const date = new Date(Number(sourceDateEpoch()) * 1_000).toISOString().slice(0, 10);
  const [, ...commands] = allCommands(program);
  return `.TH TEAPOT\\-KMS 1 ${date} "Teapot KMS ${version}" "User Commands"
.SH NAME
teapot\\-kms \\- KMS provider plugin of kube\\-apiserver
.SH SYNOPSIS
.B teapot\\-kms
.I COMMAND
[\\fIOPTION\\fR]...
.SH DESCRIPTION
${escaped(program.description)}
.SH COMMANDS
${commands
  .filter(({ commands }) => commands.length === 0)
  .map(section)
  .join('\n')}
.SH EXIT STATUS
.TP
.B 0
success
.TP
.B 1
the command failed
.TP
.B 2
the command line or the configuration is wrong
.TP
.B 3
status, doctor: there is a problem
.SH FILES
.TP
.I /etc/teapot\\-kms/config.yaml
the configuration; "teapot\\-kms config schema" describes it
.TP
.I /var/lib/teapot\\-kms
keysets and what this host remembers of them. Back up the keysets.
.TP
.I /run/teapot\\-kms
the sockets
.SH SEE ALSO
.BR systemctl (1),
/usr/share/doc/teapot\\-kms
`;
}

const section = ({ usage, description, options }: CommandDescription): string => `.SS teapot\\-kms ${escaped(usage)}
${escaped(description)}
${options
  .filter(({ long }) => long !== '--help')
  .map(option)
  .join('\n')}`;

const option = ({ flags, description }: OptionDescription): string => `.TP
.B ${escaped(flags)}
${escaped(description)}`;

/** A line of roff has no control character at its beginning, and its hyphens can be copied. */
function escaped(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replace(/^(?=[.'])/gm, '\\&');
}
