import type { Command } from 'commander';

export interface OptionDescription {
  readonly long: string;
  /** With its dash, such as `-c`. */
  readonly short: string | undefined;
  /** As `--help` shows it: `-c, --config <file>`. */
  readonly flags: string;
  readonly description: string;
  readonly takesValue: boolean;
  readonly choices: readonly string[];
}

export interface CommandDescription {
  /** Words after the program's name: `['keys', 'list']`. The program itself has none. */
  readonly words: readonly string[];
  /** As `--help` shows it: `keys promote [options] <key-id>`. */
  readonly usage: string;
  readonly description: string;
  readonly options: readonly OptionDescription[];
  readonly commands: readonly CommandDescription[];
}

/** Describes a command and all below it, as `--help` shows them. */
export function describeCommand(command: Command, words: readonly string[] = []): CommandDescription {
  const help = command.createHelp();
  const commands = help.visibleCommands(command).filter((one) => one.name() !== 'help');
  return {
    words,
    usage: [...words, command.usage()].join(' '),
    description: command.description(),
    options: help.visibleOptions(command).map((option) => ({
      long: option.long ?? option.flags,
      short: option.short,
      flags: option.flags,
      description: help.optionDescription(option),
      takesValue: option.required || option.optional,
      choices: option.argChoices ?? [],
    })),
    commands: commands.map((one) => describeCommand(one, [...words, one.name()])),
  };
}

/** A command and all below it, in the order of `--help`. */
export function allCommands(command: CommandDescription): CommandDescription[] {
  return [command, ...command.commands.flatMap(allCommands)];
}
