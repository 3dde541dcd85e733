import { inShellQuotes } from '@teapot-kms/core';
import { Argument } from 'commander';
import type { Command } from 'commander';
import { allCommands, describeCommand } from './command-tree.ts';
import type { CommandDescription, OptionDescription } from './command-tree.ts';
import { print } from './output.ts';

const SCRIPTS = { bash, zsh, fish } as const;

export function registerCompletion(program: Command): void {
  program
    .command('completion')
    .description('Print a script that completes commands and options in a shell')
    .addArgument(new Argument('<shell>', 'the shell').choices(Object.keys(SCRIPTS)))
    .addHelpText('after', '\nFor the running bash or zsh:  source <(teapot-kms completion bash)')
    .action((shell: keyof typeof SCRIPTS) => {
      print(SCRIPTS[shell](describeCommand(program)));
    });
}

/** The command as the scripts know it: `/keys/list`; the program is ``. */
const pathOf = ({ words }: CommandDescription): string => words.map((word) => `/${word}`).join('');

/** Finds the command of the words before the cursor, for bash and zsh. Words that are no command are options and their values. */
function findCommand(root: CommandDescription): string {
  const paths = allCommands(root).slice(1).map(pathOf);
  return `case $at/$word in ${paths.join('|')}) at=$at/$word ;; esac`;
}

/** One case for each option with a choice of values. */
function choices(root: CommandDescription, statement: (values: readonly string[]) => string): string {
  const lines = allCommands(root).flatMap((command) =>
    command.options
      .filter((option) => option.choices.length > 0)
      .map((option) => `    ${pathOf(command)}' '${option.long}) ${statement(option.choices)} ;;`),
  );
  return lines.join('\n');
}

function bash(root: CommandDescription): string {
  const cases = allCommands(root).map((command) => {
    const words = [...command.commands.map(({ words }) => words.at(-1)!), ...command.options.map(({ long }) => long)];
    return `    ${inShellQuotes(pathOf(command))}) words=${inShellQuotes(words.join(' '))} ;;`;
  });
  return `# bash completion of teapot-kms. Files where nothing else fits.
_teapot_kms() {
  local at= word words= current=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]}
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    ${findCommand(root)}
  done
  case $at in
${cases.join('\n')}
  esac
  case $at' '$before in
${choices(root, (values) => `words=${inShellQuotes(values.join(' '))}`)}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _teapot_kms teapot-kms`;
}

function zsh(root: CommandDescription): string {
  const item = (name: string, description: string) => inShellQuotes(`${name.replaceAll(':', '\\:')}:${description}`);
  const cases = allCommands(root).map((command) => {
    const commands = command.commands.map(({ words, description }) => item(words.at(-1)!, description));
    const options = command.options.map(({ long, description }) => item(long, description));
    return `    ${inShellQuotes(pathOf(command))}) commands=(${commands.join(' ')}) options=(${options.join(' ')}) ;;`;
  });
  return `#compdef teapot-kms
_teapot-kms() {
  local at= word before=\${words[CURRENT-1]}
  local -a commands options
  for word in "\${(@)words[2,CURRENT-1]}"; do
    ${findCommand(root)}
  done
  case $at in
${cases.join('\n')}
  esac
  case $at' '$before in
${choices(root, (values) => `compadd -- ${values.map(inShellQuotes).join(' ')}; return`)}
  esac
  if [[ $PREFIX == -* ]]; then
    _describe -o option options
  elif (( $#commands )); then
    _describe command commands
  else
    _files
  fi
}
if [[ $funcstack[1] == _teapot-kms ]]; then _teapot-kms "$@"; else compdef _teapot-kms teapot-kms; fi`;
}

function fish(root: CommandDescription): string {
  const inQuotes = (text: string) => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
  const complete = (command: CommandDescription, rest: string) =>
    `complete -c teapot-kms -n ${inQuotes(`__teapot_kms_at "${pathOf(command)}"`)} ${rest}`;
  const option = ({ long, short, description, takesValue, choices }: OptionDescription) =>
    [
      ...(short === undefined ? [] : [`-s ${short.slice(1)}`]),
      `-l ${long.slice(2)}`,
      ...(choices.length > 0 ? [`-x -a ${inQuotes(choices.join(' '))}`] : takesValue ? ['-r -F'] : []),
      `-d ${inQuotes(description)}`,
    ].join(' ');
  const paths = allCommands(root).slice(1).map(pathOf);
  return `# fish completion of teapot-kms
function __teapot_kms_at
  set -l at ''
  for word in (commandline -opc)[2..]
    if contains -- "$at/$word" ${paths.join(' ')}
      set at "$at/$word"
    end
  end
  test "$at" = "$argv[1]"
end
complete -c teapot-kms -f
${allCommands(root)
  .flatMap((command) => [
    ...command.commands.map(({ words, description }) =>
      complete(command, `-a ${words.at(-1)!} -d ${inQuotes(description)}`),
    ),
    ...command.options.map((one) => complete(command, option(one))),
  ])
  .join('\n')}`;
}
