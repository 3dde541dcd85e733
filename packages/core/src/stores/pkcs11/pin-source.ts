import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { KmsError, unavailable } from '../../errors.ts';
import { SecretBytes } from '../../util/secret-bytes.ts';

/** Longest PIN in bytes: what SoftHSM takes; other tokens take less. */
const MAX_PIN_BYTES = 255;

/** A line end may follow. */
const MAX_CONTENT_BYTES = MAX_PIN_BYTES + 2;

/** Opening a FIFO must not block one of the threads that all instances share. */
const READ = constants.O_RDONLY | constants.O_NONBLOCK;

type PinSource =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'env'; readonly name: string }
  | { readonly kind: 'credential'; readonly name: string };

/**
 * Checks the form of a `pin-source`, and reads nothing.
 *
 * @throws {@link KmsError} `ERR_KMS_INVALID_URI`. The message does not repeat `source`, which may be the PIN itself by mistake
 */
export function checkPinSource(source: string): void {
  parse(source);
}

/**
 * Reads the PIN. Each call reads it again, so that a changed PIN is found. One line end (LF or CRLF) after it is not part of it.
 *
 * | source | where |
 * |---|---|
 * | `file:/path`, `/path` | a file that only its owner can read |
 * | `env:NAME` | an environment variable: a string in memory that cannot be wiped, so prefer a file |
 * | `credential:NAME` | a systemd credential: `NAME` in `$CREDENTIALS_DIRECTORY` |
 *
 * The `|command` of RFC 7512 is refused: whoever writes the configuration could run programs as the plugin.
 *
 * A credential may have mode 0440, though no group can read it: systemd makes it 0400 for root and adds an ACL entry for the
 * unit's user, whose mask `stat` shows as the group's mode (`write_credential` in systemd's `exec-credential.c`).
 *
 * @returns 1–255 bytes, which the caller wipes
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`, which names the file or variable and never its content;
 * `ERR_KMS_INVALID_URI` as {@link checkPinSource}
 */
export async function readPin(source: string, env: NodeJS.ProcessEnv): Promise<SecretBytes> {
  const parsed = parse(source);
  if (parsed.kind === 'file') return readPinFile(parsed.path, 0o077);
  if (parsed.kind === 'env') return readVariable(parsed.name, env);
  const directory = env['CREDENTIALS_DIRECTORY'];
  if (directory === undefined || !isAbsolute(directory)) {
    throw unavailable(`credential:${parsed.name}: systemd has given the plugin no credentials`, {
      remedy: `add LoadCredential=${parsed.name}:/path/of/the/pin to the plugin's unit`,
    });
  }
  return readPinFile(join(directory, parsed.name), 0o037);
}

function parse(source: string): PinSource {
  const [, scheme, rest = ''] = /^(file|env|credential):(.*)$/s.exec(source) ?? [undefined, 'file', source];
  if (source.startsWith('|')) throw invalid('the PIN is not taken from a command');
  if (source.includes('\0')) throw invalid('it contains a zero byte');
  if (scheme === 'env') {
    if (/^[A-Za-z_][A-Za-z0-9_]*$/.test(rest)) return { kind: 'env', name: rest };
    throw invalid('env: is not followed by the name of an environment variable');
  }
  if (scheme === 'credential') {
    if (/^[^/]+$/.test(rest) && rest !== '.' && rest !== '..') return { kind: 'credential', name: rest };
    throw invalid('credential: is not followed by a name without "/"');
  }
  const path = rest.replace(/^\/\/(?=\/)/, '');
  if (isAbsolute(path) && !path.startsWith('//')) return { kind: 'file', path };
  throw invalid('it is none of these (and not shown, as it may be the PIN itself)');
}

function readVariable(name: string, env: NodeJS.ProcessEnv): SecretBytes {
  const value = env[name];
  if (value === undefined) throw unavailable(`env:${name}: the plugin has no such environment variable`);
  // Node has replaced bytes that are not UTF-8, and a wrong PIN costs one of a few tries.
  if (value.includes('\uFFFD')) {
    throw unavailable(`env:${name}: expected UTF-8, found other bytes`, { remedy: 'put the PIN into a file' });
  }
  return pinOf(Buffer.from(value), `env:${name}`);
}

async function readPinFile(path: string, refusedMode: number): Promise<SecretBytes> {
  const content = Buffer.alloc(MAX_CONTENT_BYTES + 1);
  try {
    const length = await readInto(content, path, refusedMode);
    return pinOf(Buffer.from(content.subarray(0, length)), path);
  } catch (error) {
    throw KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE', `${path}: ${reasonOf(error)}`);
  } finally {
    content.fill(0);
  }
}

/** Returns the number of bytes read, at most the size of `content`. */
async function readInto(content: Buffer, path: string, refusedMode: number): Promise<number> {
  const file = await open(path, READ);
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw unavailable(`${path}: expected a file with the PIN, found something else`);
    if ((stat.mode & refusedMode) !== 0) {
      const mode = (stat.mode & 0o7777).toString(8).padStart(4, '0');
      const remedy = `chmod 0600 ${path} (name a systemd credential as credential:NAME)`;
      throw unavailable(`${path} is open to others than its owner (mode ${mode})`, { remedy });
    }
    let length = 0;
    while (length < content.length) {
      const { bytesRead } = await file.read(content, length, content.length - length, length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return length;
  } finally {
    await file.close();
  }
}

/** Returns the PIN in `content`, which it takes over. */
function pinOf(content: Buffer, where: string): SecretBytes {
  const end = content.at(-1) === 0x0a ? (content.at(-2) === 0x0d ? 2 : 1) : 0;
  const pin = new SecretBytes(content.subarray(0, content.length - end));
  if (pin.length > 0 && pin.length <= MAX_PIN_BYTES) return pin;
  content.fill(0);
  if (pin.length === 0) throw unavailable(`${where}: expected a PIN, found nothing`);
  throw unavailable(`${where}: expected a PIN of at most ${MAX_PIN_BYTES} bytes, found more`);
}

function reasonOf(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException;
  const reasons: Record<string, string> = {
    ENOENT: 'no such file',
    EACCES: `user ${process.getuid?.() ?? ''}, running this command, cannot read it`,
  };
  return reasons[code ?? ''] ?? code ?? 'cannot be read';
}

function invalid(problem: string): KmsError {
  const expected = 'expected file:/path, env:NAME or credential:NAME';
  return new KmsError('ERR_KMS_INVALID_URI', `pkcs11: URI: pin-source: ${expected}, but ${problem}`);
}
