/**
 * Looks in all logs of a test run for the keys and plaintexts that the tests have used (`rememberSecret`): raw, in
 * hexadecimal and in base64 at every alignment. Fails when it finds one, and when there was nothing to look for.
 *
 * usage: search-logs.ts DIRECTORY
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const directory = process.argv[2]!;
const SECRETS = 'secrets.hex';

/** Base64 of the bytes wherever they begin in a longer text: the characters that do not depend on their neighbours. */
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
  throw new Error(`${secrets.length} secrets, ${logs.length} logs: nothing to search`);

let found = 0;
let bytes = 0;
const forms = [...new Set(secrets.map((secret) => secret.toString('hex')))].flatMap((hex) => {
  const secret = Buffer.from(hex, 'hex');
  const base64 = base64Forms(secret);
  return [
    secret.toString('latin1'),
    hex,
    hex.toUpperCase(),
    ...base64,
    ...base64.map((text) => text.replaceAll('+', '-').replaceAll('/', '_')),
  ];
});
for (const log of logs) {
  const text = readFileSync(log, 'latin1');
  bytes += text.length;
  if (!forms.some((form) => text.includes(form))) continue;
  found++;
  console.log(`FOUND a key or plaintext in ${log}`);
}
console.log(
  `searched ${logs.length} logs (${bytes} bytes) for ${secrets.length} keys and plaintexts: in ${found} of them`,
);
if (found > 0) process.exitCode = 1;
