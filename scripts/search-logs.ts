/**
 * Searches all logs of a test run for the keys and plaintexts of the tests (`rememberSecret`): raw, in hexadecimal, and in
 * base64 at every alignment. Exits with 1 if it finds one. Fails if there are no secrets or no logs.
 *
 * usage: search-logs.ts DIRECTORY
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const directory = process.argv[2]!;
const SECRETS = 'secrets.hex';

/** Returns the base64 forms of a secret at each alignment in a longer text, without the characters that depend on neighbours. */
function base64Forms(secret: Buffer): string[] {
  return [0, 1, 2].map((shift) => {
    const whole = Buffer.concat([Buffer.alloc(shift), secret])
      .toString('base64')
      .replace(/=+$/, '');
    const start = Math.ceil((shift * 4) / 3);
    return whole.slice(start, Math.floor(((shift + secret.length) * 4) / 3));
  });
}

const secrets = readFileSync(join(directory, SECRETS), 'utf8')
  .split('\n')
  .filter((line) => line.length >= 16)
  .map((line) => Buffer.from(line, 'hex'));
const logs = readdirSync(directory, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && entry.name !== SECRETS)
  .map((entry) => join(entry.parentPath, entry.name));
if (secrets.length === 0 || logs.length === 0)
  throw new Error(`nothing to search in ${directory}: ${secrets.length} secrets, ${logs.length} logs`);

/** Forms by their first characters, so that a log is read once, however many secrets there are. */
const PREFIX = 8;
const byPrefix = new Map<string, Set<string>>();
for (const secret of secrets) {
  const hex = secret.toString('hex');
  const base64 = base64Forms(secret);
  const url = base64.map((text) => text.replaceAll('+', '-').replaceAll('/', '_'));
  for (const form of [secret.toString('latin1'), hex, hex.toUpperCase(), ...base64, ...url]) {
    const prefix = form.slice(0, PREFIX);
    byPrefix.set(prefix, (byPrefix.get(prefix) ?? new Set()).add(form));
  }
}

function hasSecret(text: string): boolean {
  for (let at = 0; at + PREFIX <= text.length; at++)
    for (const form of byPrefix.get(text.slice(at, at + PREFIX)) ?? []) if (text.startsWith(form, at)) return true;
  return false;
}

let found = 0;
let bytes = 0;
for (const log of logs) {
  const text = readFileSync(log, 'latin1');
  bytes += text.length;
  if (!hasSecret(text)) continue;
  found++;
  console.log(`FOUND a key or plaintext in ${log}`);
}
console.log(
  `searched ${logs.length} logs (${bytes} bytes) for ${secrets.length} keys and plaintexts: found in ${found} logs`,
);
if (found > 0) process.exitCode = 1;
