import {
  distrustOf,
  FileRefused,
  formatProblems,
  parseYaml,
  readSmallFileSync,
  shownUri,
  shownValue,
  withheldValue,
} from '@teapot-kms/core';
import { configSchema } from './schema.ts';
import type { Config } from './schema.ts';

/** An invalid configuration. The message has a line `FILE:LINE: PATH: expected ..., found ...` for each problem. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly code = 'ERR_CONFIG_INVALID';
}

/** Limits of a configuration. 500 instances take about 100 KB and 20,500 tokens. */
const MAX_CONFIG_BYTES = 1024 * 1024;
const MAX_CONFIG_TOKENS = 25_000;

/**
 * Parses a configuration. One that has a problem is refused as a whole.
 * @param file - name for errors
 * @throws {@link ConfigError}
 */
export function parseConfig(text: string, file: string): Config {
  if (text.length > MAX_CONFIG_BYTES)
    throw new ConfigError(`${file}: expected at most ${MAX_CONFIG_BYTES} bytes, found ${text.length}`);
  const { value, problems } = parseYaml(text, configSchema, showFound, MAX_CONFIG_TOKENS);
  if (problems) throw new ConfigError(formatProblems(file, problems));
  return value;
}

/** The settings of a key store may hold a secret by mistake, such as a PIN where a path belongs. So may a file that is no configuration. */
function showFound(value: unknown, path: readonly PropertyKey[]): string {
  const [top = 'instances', , setting = 'keys', ...rest] = path;
  const mayBeSecret = top === 'instances' && (setting === 'keys' || setting === 'decryptOnly');
  const [keyStoreSetting = 'uri'] = setting === 'decryptOnly' ? rest.slice(1) : rest;
  const isUri = path.length > 2 && mayBeSecret && keyStoreSetting === 'uri';
  if (typeof value === 'string' && isUri) return shownUri(value);
  return mayBeSecret || typeof value === 'object' ? withheldValue(value) : shownValue(value);
}

/** @throws {@link ConfigError}, also when the file cannot be read */
export function loadConfig(file: string): Config {
  return parseConfig(readConfigText(file), file);
}

/** @throws {@link ConfigError}, at once also for a FIFO or a file that is too long */
export function readConfigText(file: string): string {
  const distrust = distrustOf(file);
  // It names a library to load.
  if (distrust) throw new ConfigError(`${file}: ${distrust.text}. Fix: ${distrust.remedy}`);
  try {
    return readSmallFileSync(file, MAX_CONFIG_BYTES).toString('utf8');
  } catch (error) {
    if (error instanceof FileRefused) throw new ConfigError(error.message, { cause: error });
    const { code, message } = error as NodeJS.ErrnoException;
    const user = `user ${process.getuid?.() ?? ''} (running this command)`;
    const reasons: Record<string, string> = { ENOENT: 'no such file', EACCES: `${user} cannot read it` };
    throw new ConfigError(`${file}: ${reasons[code ?? ''] ?? message}`, { cause: error });
  }
}
