import { UsageError } from './exit-codes.ts';

/** Parses objects per second; `Infinity` for "unlimited". */
export function rateOf(option: string) {
  return (text: string): number => (text === 'unlimited' ? Infinity : wholeNumber(option, 1_000_000)(text));
}

/** Parses a number from 1 to `max`. @throws {@link UsageError} for any other text */
export function wholeNumber(option: string, max: number) {
  return (text: string): number => {
    const number = Number(text);
    if (/^\d+$/.test(text) && number >= 1 && number <= max) return number;
    throw new UsageError(`${option}: expected a whole number from 1 to ${max}, found ${JSON.stringify(text)}`);
  };
}
