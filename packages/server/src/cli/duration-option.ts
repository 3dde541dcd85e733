import { duration } from '@teapot-kms/core';
import { Option } from 'commander';
import { UsageError } from './exit-codes.ts';

/** Parses the duration of an option, in ms. @throws {@link UsageError} for a text that is no duration */
export function durationOf(option: string) {
  return (text: string): number => {
    const parsed = duration(0).safeParse(text);
    if (parsed.success) return parsed.data;
    throw new UsageError(`${option}: ${parsed.error.issues[0]!.message}, found ${JSON.stringify(text)}`);
  };
}

/**
 * Declares an option with a duration.
 * @param byDefault - in ms
 * @param shown - the same, as the help shows it
 */
export function durationOption(flags: string, description: string, byDefault: number, shown: string): Option {
  const [name = ''] = flags.split(' ');
  return new Option(flags, description).argParser(durationOf(name)).default(byDefault, shown);
}
