import { constants } from 'node:fs';
import { lstat, open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import { KmsError, unavailable } from '../../errors.ts';
import { SecretBytes } from '../../util/secret-bytes.ts';
import { shellWord } from '../../util/shell-word.ts';
import { distrustOfAsync } from '../../util/trusted-path.ts';

/** Longest PIN in bytes: what SoftHSM takes; other tokens take less. */
const MAX_PIN_BYTES = 255;

/** A line end may follow. */
const MAX_CONTENT_BYTES = MAX_PIN_BYTES + 2;

/** Opening a FIFO must not block one of the threads that all instances share. */
const READ = constants.O_RDONLY | constants.O_NONBLOCK;

interface PinSource {
  readonly scheme: 'file' | 'env' | 'credential';
  /** The path, or the name. */
  readonly where: string;
}

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
 * | `file:/path`, `/path` | a file that only its owner can read, and nobody else can replace |
 * | `env:NAME` | an environment variable: a string in memory that cannot be wiped, so prefer a file |
 * | `credential:NAME` | a systemd credential: `NAME` in `$CREDENTIALS_DIRECTORY` |
 *
 * The `|command` of RFC 7512 is refused: whoever writes the configuration could run programs as the plugin.
 *
 * A credential may have mode 0440, though no group can read it: systemd makes it 0400 for root and adds an ACL entry for the
 * unit's user, whose mask `stat` shows as the group's mode (`write_credential` in systemd's `exec-credential.c`).
 *
 * A file of a Secret volume may have mode 0440: with an fsGroup, the kubelet makes it so.
 *
 * @returns 1–255 bytes, which the caller wipes
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`, which names the file or variable and never its content;
 * `ERR_KMS_INVALID_URI` as {@link checkPinSource}
 */
export async function readPin(source: string, env: NodeJS.ProcessEnv): Promise<SecretBytes> {
  const { scheme, where } = parse(source);
  if (scheme === 'file') return readPinFile(where, (await isInSecretVolume(where)) ? 0o037 : 0o077);
  if (scheme === 'env') return readVariable(where, env);
  const directory = env['CREDENTIALS_DIRECTORY'];
  if (directory === undefined || !isAbsolute(directory)) {
    throw unavailable(`credential:${where}: systemd has given the plugin no credentials`, {
      remedy: `add LoadCredential=${where}:/path/of/the/pin to the plugin's unit`,
    });
  }
  return readPinFile(join(directory, where), 0o037);
}

function parse(source: string): PinSource {
  if (source.startsWith('|')) throw invalid('the PIN is not taken from a command');
  if (source.includes('\0')) throw invalid('it contains a zero byte');
  const [, scheme = 'file', where = source] = /^(file|env|credential):(.*)$/s.exec(source) ?? [];
  if (scheme === 'env') {
    if (/^[A-Za-z_][A-Za-z0-9_]*$/.test(where)) return { scheme, where };
    throw invalid('env: is not followed by the name of an environment variable');
  }
  if (scheme === 'credential') {
    if (/^[^/]+$/.test(where) && where !== '.' && where !== '..') return { scheme, where };
    throw invalid('credential: is not followed by a name without "/"');
  }
  const path = where.replace(/^\/\/(?=\/)/, '');
  if (isAbsolute(path) && !path.startsWith('//')) return { scheme: 'file', where: path };
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

/** In a pod with an fsGroup, the kubelet lets that group read all files of a Secret volume, whatever their mode. Only the pod has the group. */
async function isInSecretVolume(path: string): Promise<boolean> {
  const data = await lstat(join(dirname(path), '..data')).catch(() => undefined);
  return data?.isSymbolicLink() === true && (await lstat(path).catch(() => undefined))?.isSymbolicLink() === true;
}

async function readPinFile(path: string, refusedMode: number): Promise<SecretBytes> {
  const content = Buffer.alloc(MAX_CONTENT_BYTES + 1);
  let file: FileHandle | undefined;
  try {
    file = await open(path, READ);
    const stat = await file.stat();
    if (!stat.isFile()) throw unavailable(`${path}: expected a file with the PIN, found something else`);
    if ((stat.mode & refusedMode) !== 0) {
      const mode = (stat.mode & 0o7777).toString(8).padStart(4, '0');
      const remedy = `chmod 0600 ${shellWord(path)} (name a systemd credential as credential:NAME)`;
      throw unavailable(`${path} is open to others than its owner (mode ${mode})`, { remedy });
    }
    // A wrong PIN, which somebody else may put there, costs one of a few tries.
    const distrust = await distrustOfAsync(path);
    if (distrust) throw unavailable(`PIN file: ${distrust.text}`, { remedy: distrust.remedy });
    let length = 0;
    for (let read = 1; read > 0 && length < content.length; length += read) {
      read = (await file.read(content, length)).bytesRead;
    }
    return pinOf(Buffer.from(content.subarray(0, length)), path);
  } catch (error) {
    throw KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE', `${path}: ${reasonOf(error)}`);
  } finally {
    content.fill(0);
    await file?.close();
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
