import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { KmsError } from '../../errors.ts';
import { SecretBytes } from '../../util/secret-bytes.ts';

/** Longest PIN in bytes: what SoftHSM takes; other tokens take less. */
const MAX_PIN_BYTES = 255;

/** A line end may follow. */
const MAX_CONTENT_BYTES = MAX_PIN_BYTES + 2;

/** A FIFO under a file's name must not hold one of the threads that all instances share. */
const READ = constants.O_RDONLY | constants.O_NONBLOCK;

type PinSource =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'env'; readonly name: string }
  | { readonly kind: 'credential'; readonly name: string };

/**
 * Checks the form of a `pin-source`, without a look at what is there.
 *
 * @throws {@link KmsError} `ERR_KMS_INVALID_URI`, without a word of `source`: it may be the PIN itself, put there by mistake
 */
export function checkPinSource(source: string): void {
  parse(source);
}

/**
 * Reads the PIN, anew each time, so that a changed one is found. One line end (LF or CRLF) behind it is not part of it.
 *
 * | source | where |
 * |---|---|
 * | `file:/path`, `/path` | a file that nobody but its owner may read |
 * | `env:NAME` | an environment variable; it is a string in our memory that cannot be wiped, so a file is better |
 * | `credential:NAME` | a systemd credential: `NAME` in `$CREDENTIALS_DIRECTORY` |
 *
 * The `|command` of RFC 7512 is refused: who writes the configuration would run programs as the plugin.
 *
 * A credential may show as readable by its group. systemd makes it 0400 for root and lets the unit's user in by an ACL
 * entry, whose mask `stat` shows in the group's place (`write_credential` in systemd's `exec-credential.c`): 0440, though no
 * group may read it.
 *
 * @returns 1–255 bytes, the caller's to wipe
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`, so that it is tried again when mended: it names the file or variable,
 * never what is in it; `ERR_KMS_INVALID_URI` as {@link checkPinSource}
 */
export async function readPin(source: string, env: NodeJS.ProcessEnv): Promise<SecretBytes> {
  const parsed = parse(source);
  if (parsed.kind === 'file') return readPinFile(parsed.path, 0o077);
  if (parsed.kind === 'env') return readVariable(parsed.name, env);
  const directory = env['CREDENTIALS_DIRECTORY'];
  if (directory === undefined || !isAbsolute(directory)) {
    const remedy = `add LoadCredential=${parsed.name}:/path/of/the/pin to its unit`;
    throw unavailable(`credential:${parsed.name}: systemd has given the plugin no credentials; ${remedy}`);
  }
  return readPinFile(join(directory, parsed.name), 0o037);
}

function parse(source: string): PinSource {
  const [, scheme, rest = ''] = /^(file|env|credential):(.*)$/s.exec(source) ?? [undefined, 'file', source];
  if (source.startsWith('|')) throw invalid('the PIN is not taken from a command');
  if (source.includes('\0')) throw invalid('there is a zero byte in it');
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
  // Where the bytes were not UTF-8 they are lost, and a wrong PIN costs one of a few tries.
  if (value.includes('\uFFFD')) throw unavailable(`env:${name}: expected UTF-8, found other bytes; use a file`);
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

/** Returns how many bytes there are, up to the size of `content`. */
async function readInto(content: Buffer, path: string, refusedMode: number): Promise<number> {
  const file = await open(path, READ);
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw unavailable(`${path}: expected a file with the PIN, found something else`);
    if ((stat.mode & refusedMode) !== 0) {
      const mode = (stat.mode & 0o7777).toString(8).padStart(4, '0');
      const remedy = `run: chmod 0600 ${path} (a systemd credential is named as credential:NAME)`;
      throw unavailable(`${path} is open to others than its owner (mode ${mode}); ${remedy}`);
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

/** Takes `content` over. */
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
    EACCES: `permission denied for user ${process.getuid?.() ?? ''} that the plugin runs as`,
  };
  return reasons[code ?? ''] ?? code ?? 'cannot be read';
}

const unavailable = (text: string): KmsError => new KmsError('ERR_KMS_STORE_UNAVAILABLE', text);

function invalid(problem: string): KmsError {
  const expected = 'expected file:/path, env:NAME or credential:NAME';
  return new KmsError('ERR_KMS_INVALID_URI', `pkcs11: URI: pin-source: ${expected}, but ${problem}`);
}
