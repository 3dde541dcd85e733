import { createDecipheriv, timingSafeEqual } from 'node:crypto';
import { KmsError } from '../../errors.ts';
import type { LegacyOpener } from '../../keyset/legacy-opener.ts';
import { withheldValue } from '../../util/shown-value.ts';
import type { SecretBytes } from '../../util/secret-bytes.ts';
import { UUID } from './settings.ts';

/** No backup of a keyset has a key of the other plugin. */
export const RESTORE_LEGACY = 'restore this secret in Barbican: what the other plugin encrypted needs it';

/** IV, the two blocks of kube-apiserver's 32 bytes, and one of padding. barbican-kms-plugin never stored anything else. */
const CIPHERTEXT_BYTES = 64;
const IV_BYTES = 16;
const PLAINTEXT_BYTES = 32;
const PADDING = Buffer.alloc(16, 16);

const CIPHERS: Readonly<Record<number, string>> = { 16: 'aes-128-cbc', 24: 'aes-192-cbc', 32: 'aes-256-cbc' };

/**
 * Opens what barbican-kms-plugin wrote: IV ‖ AES-CBC(PKCS#7(plaintext)). The key is the secret's bytes, the key_id in KMS v2 is the
 * secret's UUID. There is no MAC: a change in the first 32 bytes gives another plaintext and goes unnoticed, a later one breaks the padding.
 */
export class LegacyKeys implements LegacyOpener {
  readonly warnings: readonly KmsError[];
  readonly #keys: ReadonlyMap<string, SecretBytes>;

  /** @param keys - by key_id, each of 16, 24 or 32 bytes. They now belong to this object */
  constructor(keys: ReadonlyMap<string, SecretBytes>, warnings: readonly KmsError[] = []) {
    this.#keys = keys;
    this.warnings = warnings;
  }

  get keyIds(): readonly string[] {
    return [...this.#keys.keys()];
  }

  open(ciphertext: Buffer, keyId: string | undefined): { keyId: string; plaintext: Buffer } | undefined {
    if (ciphertext.length !== CIPHERTEXT_BYTES) return undefined;
    for (const [id, key] of this.#keys) {
      if (keyId !== undefined && id !== keyId) continue;
      const plaintext = openOne(ciphertext, key.expose());
      if (plaintext) return { keyId: id, plaintext };
    }
    return undefined;
  }

  destroy(): void {
    for (const key of this.#keys.values()) key.wipe();
  }
}

/**
 * Loads legacy keys. A lost or damaged one becomes a warning: it must not keep the others, and the keyset, from being used.
 * @param ids - each should be the UUID of a secret
 * @param fetch - reads a secret
 * @returns `undefined` without ids
 * @throws any other error of `fetch`; no key is kept then
 */
export async function loadLegacyKeys(
  ids: ReadonlySet<string>,
  fetch: (id: string) => Promise<SecretBytes>,
): Promise<LegacyKeys | undefined> {
  if (ids.size === 0) return undefined;
  const keys = new Map<string, SecretBytes>();
  const warnings: KmsError[] = [];
  for (const id of ids) {
    try {
      keys.set(id, await loadOne(id, fetch));
    } catch (error) {
      if (error instanceof KmsError && (error.code === 'ERR_KMS_KEY_GONE' || error.code === 'ERR_KMS_KEYSET_INVALID')) {
        warnings.push(error);
        continue;
      }
      for (const key of keys.values()) key.wipe();
      throw error;
    }
  }
  return new LegacyKeys(keys, warnings);
}

async function loadOne(id: string, fetch: (id: string) => Promise<SecretBytes>): Promise<SecretBytes> {
  // It becomes part of a path.
  if (!UUID.test(id)) {
    const message = `[KeyManager] key-id: expected the UUID of a Barbican secret, found ${withheldValue(id)}`;
    throw new KmsError('ERR_KMS_KEYSET_INVALID', message, { remedy: 'set key-id in cloud.conf to the UUID alone' });
  }
  const key = await fetch(id.toLowerCase());
  if (CIPHERS[key.length] !== undefined) return key;
  key.wipe();
  const message = `legacy key ${id}: expected 16, 24 or 32 bytes, found ${key.length}`;
  throw new KmsError('ERR_KMS_KEYSET_INVALID', message, { remedy: RESTORE_LEGACY });
}

function openOne(ciphertext: Buffer, key: Buffer): Buffer | undefined {
  const decipher = createDecipheriv(CIPHERS[key.length]!, key, ciphertext.subarray(0, IV_BYTES)).setAutoPadding(false);
  const padded = decipher.update(ciphertext.subarray(IV_BYTES));
  decipher.final();
  const good = timingSafeEqual(padded.subarray(PLAINTEXT_BYTES), PADDING);
  const plaintext = good ? Buffer.from(padded.subarray(0, PLAINTEXT_BYTES)) : undefined;
  padded.fill(0);
  return plaintext;
}
