import { formatProblems, parseYaml } from '@teapot-kms/core';
import { readFileSync } from 'node:fs';
import { configSchema } from './schema.ts';
import type { Config } from './schema.ts';

/** A configuration that cannot be used, with every problem in it: `FILE:LINE: PATH: expected ..., found ...`. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly code = 'ERR_CONFIG_INVALID';
}

/** Longest configuration that is read, in bytes: 500 instances take about 100 KB. */
const MAX_CONFIG_BYTES = 4 * 1024 * 1024;

/**
 * Parses a configuration, whole or not at all.
 * @param file - what errors name
 * @throws {@link ConfigError}
 */
export function parseConfig(text: string, file: string): Config {
  if (text.length > MAX_CONFIG_BYTES) throw new ConfigError(`${file}: longer than ${MAX_CONFIG_BYTES} bytes`);
  const { value, problems } = parseYaml(text, configSchema);
  if (problems) throw new ConfigError(formatProblems(file, problems));
  return value;
}

/** @throws {@link ConfigError}, also where the file cannot be read */
export function loadConfig(file: string): Config {
  return parseConfig(readConfigText(file), file);
}

/** @throws {@link ConfigError} */
export function readConfigText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new ConfigError(`${file}: cannot be read: ${(error as NodeJS.ErrnoException).code ?? 'unknown error'}`, {
      cause: error,
    });
  }
}
