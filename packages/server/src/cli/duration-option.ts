import { duration } from '@teapot-kms/core';
import { UsageError } from './exit-codes.ts';

/** Parses the duration of an option, in ms. @throws {@link UsageError} for a text that is no duration */
export function durationOf(option: string) {
  return (text: string): number => {
    const parsed = duration(0).safeParse(text);
    if (parsed.success) return parsed.data;
    throw new UsageError(`${option}: ${parsed.error.issues[0]!.message}, found ${JSON.stringify(text)}`);
  };
}
