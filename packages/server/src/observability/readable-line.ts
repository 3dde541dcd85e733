import { safeText } from '@teapot-kms/core';

/** Longest value that is shown, in characters. */
const MAX_VALUE = 2_000;

interface Line {
  readonly level: string;
  readonly time: string;
  readonly msg?: string;
  readonly instance?: string;
  readonly error?: Problem;
}

interface Problem {
  readonly code?: string;
  readonly message?: string;
  readonly remedy?: string;
  readonly cause?: Problem;
}

/**
 * Makes a line of the log, which is JSON, one for a person at a terminal: time, level, instance, text and fields. An error
 * follows in lines of its own. No control character gets to the terminal.
 */
export function readableLine(json: string): string {
  const { level, time, instance, msg = '', error, ...fields } = JSON.parse(json) as Line;
  const about = instance === undefined ? '' : `[${instance}] `;
  // A terminal shows one process.
  const known = Object.entries(fields).filter(([name]) => name !== 'pid');
  const more = known.map(([name, value]) => ` ${name}=${shown(value)}`);
  const head = `${time.replace('T', ' ')} ${level.toUpperCase().padEnd(5)} ${about}${shown(msg)}${more.join('')}\n`;
  return head + problem(error, '  ');
}

function problem(error: Problem | undefined, indentation: string): string {
  if (!error) return '';
  const { code, message = '', remedy, cause } = error;
  const lines = [`${code === undefined ? '' : `${code}: `}${shown(message)}`];
  if (remedy !== undefined) lines.push(`remedy: ${shown(remedy)}`);
  return lines.map((line) => `${indentation}${line}\n`).join('') + problem(cause, `${indentation}  `);
}

const shown = (value: unknown): string =>
  safeText(typeof value === 'string' ? value : JSON.stringify(value), MAX_VALUE);
