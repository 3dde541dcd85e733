import { createHmac, timingSafeEqual } from 'node:crypto';
import { SecretBytes } from '../util/secret-bytes.ts';

const CHECK_BYTES = 16;

/**
 * Proves that a key is the one that a manifest lists, and that this process holds it (`docs/spec/keyset-v2.md` §5 and §10).
 * What it keeps is derived from the key: the key itself stays only where it seals.
 */
export class KeyProof {
  /** The check value: 32 hexadecimal digits that may be published. */
  readonly check: string;
  readonly #reportKey: SecretBytes;

  /**
   * @param key - 32 bytes: the key, or the check key of a key in a token. Neither kept nor wiped
   * @param contextId - 16 bytes
   */
  constructor(key: SecretBytes, contextId: Buffer, keyId: string) {
    this.check = derive(key, 'check', contextId, keyId).subarray(0, CHECK_BYTES).toString('hex');
    this.#reportKey = new SecretBytes(derive(key, 'report', contextId, keyId));
  }

  /** Compares the check value in constant time. */
  matches(check: string): boolean {
    return equal(Buffer.from(this.check, 'hex'), Buffer.from(check, 'hex'));
  }

  /** @returns 64 hexadecimal digits over the body of a replica report */
  mac(body: string): string {
    return this.#mac(body).toString('hex');
  }

  /** Compares in constant time. */
  verifies(body: string, mac: string): boolean {
    return equal(this.#mac(body), Buffer.from(mac, 'hex'));
  }

  destroy(): void {
    this.#reportKey.wipe();
  }

  #mac(body: string): Buffer {
    return createHmac('sha256', this.#reportKey.expose()).update(body).digest();
  }
}

function derive(key: SecretBytes, purpose: 'check' | 'report', contextId: Buffer, keyId: string): Buffer {
  const label = `teapot-kms/keyset/v2/${purpose}\0`;
  return createHmac('sha256', key.expose()).update(label).update(contextId).update(keyId).digest();
}

const equal = (a: Buffer, b: Buffer): boolean => a.length === b.length && timingSafeEqual(a, b);
