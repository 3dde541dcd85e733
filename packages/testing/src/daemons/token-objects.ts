import { rememberSecret } from '../assert/remember-secret.ts';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Token } from './token.ts';

/** An object in a token. */
export interface TokenObject {
  readonly class: 'secret' | 'private' | 'public' | 'other';
  /** CKA_ID in hex. */
  readonly id: string;
  readonly label: string;
  /** Absent where the object has no such attribute. */
  readonly sensitive?: boolean;
  readonly extractable?: boolean;
}

export interface AesKeyImport {
  /** CKA_ID in hex. */
  readonly id: string;
  readonly label: string;
  /** 16, 24 or 32 bytes. */
  readonly value: Uint8Array;
  /** Default: false. A key that can be got out is what `doctor` warns of. */
  readonly extractable?: boolean;
}

/** What {@link askToken} sends to `token-objects-process.ts`, as JSON. */
export type TokenRequest = Pick<Token, 'module' | 'label' | 'pin'> &
  (
    | { readonly command: 'list' }
    /** `pin` is that of the security officer. */
    | { readonly command: 'init-pin'; readonly userPin: string; readonly libraryParameters?: string }
    | { readonly command: 'delete'; readonly id: string }
    | { readonly command: 'import'; readonly key: Omit<AesKeyImport, 'value'>; readonly valueHex: string }
  );

/** All objects of a token that its user sees. */
export async function listObjects(token: Token): Promise<TokenObject[]> {
  return JSON.parse(await askToken(token, { command: 'list' })) as TokenObject[];
}

/**
 * Destroys all objects with this CKA_ID.
 *
 * @returns how many there were
 */
export async function deleteObjects(token: Token, id: string): Promise<number> {
  return JSON.parse(await askToken(token, { command: 'delete', id })) as number;
}

/**
 * Sets the PIN of the user, as the security officer.
 * @param pin - of the security officer
 * @param libraryParameters - for C_Initialize, where the module needs them
 */
export async function initUserPin(
  token: Token,
  pin: string,
  userPin: string,
  libraryParameters?: string,
): Promise<void> {
  const parameters = libraryParameters === undefined ? {} : { libraryParameters };
  await askToken({ ...token, pin }, { command: 'init-pin', userPin, ...parameters });
}

/** Makes an AES key that may encrypt, decrypt, wrap and unwrap. */
export async function importAesKey(token: Token, { value, ...key }: AesKeyImport): Promise<void> {
  rememberSecret(value);
  await askToken(token, { command: 'import', key, valueHex: Buffer.from(value).toString('hex') });
}

type Command<T> = T extends unknown ? Omit<T, 'module' | 'label' | 'pin'> : never;

/** Asks a process of its own, so that the module is not loaded here. The PIN and keys go through its standard input. */
function askToken({ env, module, label, pin }: Token, command: Command<TokenRequest>): Promise<string> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'token-objects-process.ts')], {
    env: { ...process.env, ...env },
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  child.stdin.end(JSON.stringify({ module, label, pin, ...command }));
  return new Promise((resolve, reject) => {
    child.on('close', (code) => {
      if (code === 0) resolve(stdout);
      else reject(new Error(`${command.command} on the token ${label} failed: ${stderr}`));
    });
  });
}
