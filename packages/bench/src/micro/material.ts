import { FakeKeysetStore, FaultInjectingRemoteKek, FaultInjectingSource, until } from '@teapot-kms/testing';
import {
  decodeEnvelope,
  EnvelopeKey,
  generateKey,
  KeysetService,
  LocalKekService,
  newKeyId,
  SecretBytes,
} from '@teapot-kms/core';
import type { CallContext, Envelope, KmsService, MaybePromise } from '@teapot-kms/core';
import { randomBytes } from 'node:crypto';

/** Number of distinct messages in one run of a case, as in a storm. */
export const MESSAGES = 256;
/** Size of a DEK or a DEK seed of kube-apiserver. */
const SEED_BYTES = 32;

/** The context of a call that is never cancelled. */
export const patient: CallContext = { signal: new AbortController().signal };

/** Returns the result of a call that completes synchronously. @throws Error if the call is asynchronous */
export function atOnce<T>(value: MaybePromise<T>): T {
  if (value instanceof Promise) throw new Error('the call did not complete synchronously');
  return value;
}

export interface SealedMessage {
  readonly ciphertext: Buffer;
  readonly envelope: Envelope;
  readonly keyId: string;
}

export interface ReadyService {
  readonly service: KmsService;
  readonly messages: readonly SealedMessage[];
}

export const plaintexts: readonly Buffer[] = Array.from({ length: MESSAGES }, () => randomBytes(SEED_BYTES));

export function newEnvelopeKey(wrapped = Buffer.alloc(0)): EnvelopeKey {
  const key = new SecretBytes(randomBytes(32));
  return new EnvelopeKey({ key, keyId: newKeyId(), contextId: randomBytes(16), wrapped });
}

export async function keysetService(): Promise<ReadyService> {
  const store = new FakeKeysetStore();
  await generateKey(store);
  return ready(new KeysetService({ source: new FaultInjectingSource(store) }));
}

/** A service with a fake token. Its cache holds the local KEK of all messages. */
export async function localKekService(): Promise<ReadyService> {
  return ready(new LocalKekService({ remote: new FaultInjectingRemoteKek() }));
}

/** Waits until the service has loaded its key. */
export async function untilOk(service: KmsService): Promise<void> {
  await until('the service is ready', async () => (await service.status()).healthz === 'ok', { everyMs: 1 });
}

async function ready(service: KmsService): Promise<ReadyService> {
  service.start();
  await untilOk(service);
  const messages = plaintexts.map((plaintext) => {
    const { ciphertext, keyId } = atOnce(service.encrypt(plaintext, patient));
    return { ciphertext, keyId, envelope: decodeEnvelope(ciphertext) };
  });
  return { service, messages };
}
