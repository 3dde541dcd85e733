import { appendFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Notes a key or plaintext that a test has used, so that `scripts/search-logs.ts` can look for it in all logs of the
 * test run. Does nothing where no logs are collected.
 */
export function rememberSecret(bytes: Uint8Array): void {
  const directory = process.env['TEAPOT_TEST_LOG_DIR'];
  if (directory === undefined) return;
  appendFileSync(join(directory, 'secrets.hex'), `${Buffer.from(bytes).toString('hex')}\n`, { mode: 0o600 });
}
