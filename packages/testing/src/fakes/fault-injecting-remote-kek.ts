import { KmsError, newKeyId, SecretBytes } from '@teapot-kms/core';
import type { RemoteContext, RemoteKek, RemoteKekDescription } from '@teapot-kms/core';
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { Faults } from './faults.ts';

const NONCE_BYTES = 12;
const TAG_BYTES = 16;

interface Version {
  readonly key: Buffer;
  state: 'pending' | 'promoted';
}

/** A token in memory: what all handles to it, on all replicas, have in common. */
export class FakeToken {
  readonly contextId = randomBytes(16);
  readonly watchers = new Set<() => void>();
  readonly #versions = new Map<string, Version>();
  primary: string;

  constructor(primary = newKeyId()) {
    this.primary = primary;
    this.add(primary, 'promoted');
  }

  /** Adds a version of the key and returns its id. */
  add(id = newKeyId(), state: 'pending' | 'promoted' = 'pending'): string {
    this.#versions.set(id, { key: randomBytes(32), state });
    return id;
  }

  promote(id: string): void {
    this.#version(id).state = 'promoted';
    this.primary = id;
  }

  /** Destroys a version for good. */
  remove(id: string): void {
    this.#version(id).key.fill(0);
    this.#versions.delete(id);
  }

  /** Tells the watchers that the keys may have changed. */
  hint(): void {
    for (const onChange of this.watchers) onChange();
  }

  describe(): RemoteKekDescription {
    const keys = [...this.#versions].map(([id, { state }]) => ({ id, state }));
    return { contextId: Buffer.from(this.contextId), primary: this.primary, keys };
  }

  /** The bytes of a version, not a copy. */
  keyOf(id: string): Buffer {
    return this.#version(id).key;
  }

  #version(id: string): Version {
    const version = this.#versions.get(id);
    if (!version) throw new KmsError('ERR_KMS_UNKNOWN_KEY', `key ${id} is not in this token`);
    return version;
  }
}

/**
 * A {@link RemoteKek} with real cryptography (AES-256-GCM, 60 bytes wrapped) whose operations fail, hang and take as
 * long as a test wants.
 */
export class FaultInjectingRemoteKek implements RemoteKek {
  readonly uri = 'fake:token';
  readonly token: FakeToken;
  readonly describing = new Faults();
  readonly wrapping = new Faults();
  readonly unwrapping = new Faults();
  /** Every key that unwrap has given out, to see whether it was wiped. */
  readonly givenOut: SecretBytes[] = [];
  closed = false;

  constructor(token = new FakeToken()) {
    this.token = token;
  }

  /** Sets or clears a fault of all three operations. */
  fail(code: Faults['failWith']): void {
    for (const faults of [this.describing, this.wrapping, this.unwrapping]) faults.failWith = code;
  }

  describe({ signal }: RemoteContext): Promise<RemoteKekDescription> {
    return this.describing.around(signal, () => {
      this.#checkOpen();
      return this.token.describe();
    });
  }

  wrap(keyId: string, key: SecretBytes, { signal }: RemoteContext): Promise<Buffer> {
    return this.wrapping.around(signal, () => {
      const nonce = randomBytes(NONCE_BYTES);
      const gcm = createCipheriv('aes-256-gcm', this.#keyOf(keyId), nonce).setAAD(Buffer.from(keyId));
      return Buffer.concat([nonce, gcm.update(key.expose()), gcm.final(), gcm.getAuthTag()]);
    });
  }

  unwrap(keyId: string, wrapped: Buffer, { signal }: RemoteContext): Promise<SecretBytes> {
    return this.unwrapping.around(signal, () => {
      const bytes = new SecretBytes(this.#decrypt(this.#keyOf(keyId), keyId, wrapped));
      this.givenOut.push(bytes);
      return bytes;
    });
  }

  watch(onChange: () => void): () => void {
    this.token.watchers.add(onChange);
    return () => this.token.watchers.delete(onChange);
  }

  close(): Promise<void> {
    this.closed = true;
    return Promise.resolve();
  }

  #decrypt(key: Buffer, keyId: string, wrapped: Buffer): Buffer {
    const refused = (cause?: unknown) =>
      new KmsError('ERR_KMS_UNWRAP_FAILED', 'not a wrapped key of this version', { cause });
    if (wrapped.length !== NONCE_BYTES + 32 + TAG_BYTES) throw refused();
    const gcm = createDecipheriv('aes-256-gcm', key, wrapped.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES });
    gcm.setAAD(Buffer.from(keyId)).setAuthTag(wrapped.subarray(-TAG_BYTES));
    const bytes = gcm.update(wrapped.subarray(NONCE_BYTES, -TAG_BYTES));
    try {
      gcm.final();
    } catch (error) {
      bytes.fill(0);
      throw refused(error);
    }
    return bytes;
  }

  #keyOf(keyId: string): Buffer {
    this.#checkOpen();
    return this.token.keyOf(keyId);
  }

  #checkOpen(): void {
    if (this.closed) throw new KmsError('ERR_KMS_CLOSED', 'the token was closed');
  }
}
