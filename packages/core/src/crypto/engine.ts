import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { unlessAborted } from '../util/abort.ts';
import type { Envelope } from '../envelope/codec.ts';
import type { EnvelopeKey, OpeningKey } from '../envelope/envelope.ts';
import type { CallContext, EncryptResult, MaybePromise } from '../kms-service.ts';
import { GcmPool } from './gcm-pool.ts';

/** The setting `crypto.engine`: where messages are sealed and opened. */
export const cryptoEngines = ['auto', 'inline', 'pool'] as const;
export type CryptoEngineName = (typeof cryptoEngines)[number];

/** With fewer cores, the pool takes time from the main thread or from kube-apiserver. */
const MIN_CORES = 4;
/** Longest message that is always processed inline, in bytes. ADR 0016 has the measurement. */
const INLINE_BYTES = 32 * 1024;

/** Properties of the host that decide where cryptography is fast. */
export interface Host {
  readonly cores: number;
  /** Whether the processor has AES instructions. All but a few small ARM processors have. */
  readonly aesInstructions: boolean;
}

export interface CryptoEngineOptions {
  readonly host?: Host;
  readonly inlineBytes?: number;
}

/**
 * Seals and opens messages inline, in this thread, or long messages in other threads where that is faster (design D7). All instances of a
 * process share one engine.
 */
export class CryptoEngine {
  readonly #inlineBytes: number;
  readonly #pool: GcmPool;

  constructor(name: CryptoEngineName, options: CryptoEngineOptions = {}) {
    const { host = thisHost(), inlineBytes = INLINE_BYTES } = options;
    const pooled = name === 'pool' || (name === 'auto' && host.cores >= MIN_CORES && !host.aesInstructions);
    this.#inlineBytes = pooled ? inlineBytes : Infinity;
    this.#pool = new GcmPool(Math.max(1, host.cores - 1));
  }

  /** @throws {@link KmsError} the errors of {@link EnvelopeKey.seal} */
  seal(key: EnvelopeKey, plaintext: Uint8Array, context: CallContext): MaybePromise<EncryptResult> {
    const { keyId } = key;
    if (plaintext.length <= this.#inlineBytes) return { ciphertext: key.seal(plaintext), keyId };
    const sealing = key.sealBy(this.#pool, plaintext).then((ciphertext) => ({ ciphertext, keyId }));
    return unlessAborted(sealing, context.signal);
  }

  /**
   * @returns the plaintext, which the caller owns
   * @throws {@link KmsError} the errors of {@link EnvelopeKey.open}
   */
  open(key: OpeningKey, envelope: Envelope, context: CallContext): MaybePromise<Buffer> {
    if (envelope.sealed.length <= this.#inlineBytes) return key.open(envelope);
    return unlessAborted(key.openBy(this.#pool, envelope), context.signal, (late) => late.fill(0));
  }

  /** Waits for messages that are in progress, then ends the threads. */
  close(): Promise<void> {
    return this.#pool.close();
  }
}

/** The default engine of a service. */
export const inlineEngine = new CryptoEngine('inline', { host: { cores: 1, aesInstructions: true } });

function thisHost(): Host {
  return { cores: availableParallelism(), aesInstructions: hasAes(cpuInfo()) };
}

/** @param cpuInfo - the text of /proc/cpuinfo. Processors other than x86 and ARM list no such feature, and count as having it */
export function hasAes(cpuInfo: string): boolean {
  const [features] = /^(?:flags|Features)\s*:.*$/m.exec(cpuInfo) ?? [];
  return features === undefined || /\saes(?:\s|$)/.test(features);
}

function cpuInfo(): string {
  try {
    return readFileSync('/proc/cpuinfo', 'latin1');
  } catch {
    return '';
  }
}
