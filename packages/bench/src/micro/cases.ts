import { KekCache, Unwrapper } from '@teapot-kms/core/internal';
import { v2 } from '@teapot-kms/server/internal';
import { FaultInjectingRemoteKek } from '@teapot-kms/testing';
import { decodeEnvelope, Keyset, newKeyId, SecretBytes, systemClock } from '@teapot-kms/core';
import { randomBytes } from 'node:crypto';
import { openBare, openNaive, sealBare, sealNaive } from './bare-gcm.ts';
import { call, decryptRequests, encryptRequests, handlers } from './handlers.ts';
import type { Case } from './interleave.ts';
import { atOnce, keysetService, localKekService, MESSAGES, newEnvelopeKey, patient, plaintexts } from './material.ts';

/** A case and the name of its base, which is the cheapest code that could do the same. */
export interface Comparison extends Case {
  readonly base: string;
}

/** @param times - repetitions of all inputs in one run; more for work of nanoseconds */
function each<T>(name: string, inputs: readonly T[], work: (input: T) => unknown, times = 1): Case {
  return {
    name,
    calls: times * inputs.length,
    run: () => {
      for (let i = 0; i < times; i++) for (const input of inputs) work(input);
    },
  };
}

function lookUps<T>(name: string, keys: readonly T[], look: (key: T) => unknown): Case {
  const found = (key: T): void => {
    if (look(key) === undefined) throw new Error('a miss');
  };
  return each(name, keys, found, Math.ceil(25_000 / keys.length));
}

export interface Cases {
  readonly bases: readonly Case[];
  readonly comparisons: readonly Comparison[];
  readonly close: () => Promise<void>;
}

/** Creates cases for each layer of a call, from the bare cipher up to the server's handler. */
export async function microCases(): Promise<Cases> {
  const [keyset, localKek] = [await keysetService(), await localKekService()];
  const [keysetHandlers, localKekHandlers] = [handlers(keyset), handlers(localKek)];
  const key = newEnvelopeKey();
  const envelopes = plaintexts.map((plaintext) => key.seal(plaintext));
  const decoded = envelopes.map((bytes) => decodeEnvelope(bytes));
  const bare = plaintexts.map(sealBare);
  const requests = decryptRequests(keyset);
  const messages = requests.map((request) => v2.DecryptRequest.decode(request));
  const lookUpsInMemory = await lookUpCases();
  const against = (base: string, ...cases: Case[]): Comparison[] => cases.map((one) => ({ ...one, base }));
  return {
    bases: [each('bare seal', plaintexts, sealBare), each('bare open', bare, openBare)],
    comparisons: [
      ...against(
        'bare seal',
        each('bare seal again', plaintexts, sealBare),
        each('naive seal', plaintexts, sealNaive),
        each('envelope seal', plaintexts, (plaintext) => key.seal(plaintext)),
        each('keyset service encrypt', plaintexts, (one) => atOnce(keyset.service.encrypt(one, patient))),
        each('local KEK service encrypt', plaintexts, (one) => atOnce(localKek.service.encrypt(one, patient))),
        each('handler Encrypt, keyset', encryptRequests(), (one) => keysetHandlers.encrypt(one, call)),
        each('handler Encrypt, local KEK', encryptRequests(), (one) => localKekHandlers.encrypt(one, call)),
      ),
      ...against(
        'bare open',
        each('bare open again', bare, openBare),
        each('naive open', bare, openNaive),
        each('envelope open', decoded, (envelope) => key.open(envelope)),
        each('envelope decode and open', envelopes, (bytes) => key.open(decodeEnvelope(bytes))),
        each('keyset service decrypt', keyset.messages, (one) => atOnce(keyset.service.decrypt(one, patient))),
        each('local KEK service decrypt', localKek.messages, (one) => atOnce(localKek.service.decrypt(one, patient))),
        each('handler Decrypt, keyset', requests, (one) => keysetHandlers.decrypt(one, call)),
        each('handler Decrypt, local KEK', decryptRequests(localKek), (one) => localKekHandlers.decrypt(one, call)),
      ),
      // These take nanoseconds. Only their share of a call matters, not their ratio to a bare Map.
      ...against(
        'bare open',
        ...lookUpsInMemory,
        each('decode v2 DecryptRequest', requests, (request) => v2.DecryptRequest.decode(request), 8),
        each('encode v2 DecryptRequest', messages, (message) => v2.DecryptRequest.encode(message), 8),
        each('encode v2 DecryptResponse', plaintexts, (plaintext) => v2.DecryptResponse.encode({ plaintext }), 8),
      ),
    ],
    close: async () => {
      key.destroy();
      await Promise.all([keyset.service.close(), localKek.service.close()]);
    },
  };
}

/** Creates cases for each way to look up a key in memory. */
async function lookUpCases(): Promise<readonly Case[]> {
  const cache = new KekCache({ clock: systemClock, cacheEntries: 10_000, softAgeMs: 3_600_000, hardAgeMs: 86_400_000 });
  const map = new Map<string, object>();
  const contextId = randomBytes(16);
  const wrapped = Array.from({ length: MESSAGES }, () => randomBytes(60));
  const envelopes = wrapped.map((bytes) => {
    const kek = newEnvelopeKey(bytes);
    const key = KekCache.keyOf(kek.keyId, bytes);
    cache.set(key, kek);
    map.set(key, kek);
    return decodeEnvelope(kek.seal(Buffer.from('x')));
  });
  const unwrapper = new Unwrapper({
    remote: new FaultInjectingRemoteKek(),
    clock: systemClock,
    cache,
    onEvent: () => undefined,
    direct: false,
    timeoutMs: 1_000,
    maxPending: 1,
  });
  const keys = [...map.keys()];
  const { keyset, ids } = await keysetOf(16);
  return [
    lookUps('bare Map.get', keys, (key) => map.get(key)),
    lookUps('KekCache.get', keys, (key) => cache.get(key)),
    lookUps('Keyset.find of 16', ids, (id) => keyset.find(id)),
    lookUps('Unwrapper.cached', envelopes, (one) => unwrapper.cached(unwrapper.nameOf(one), one, contextId)),
  ];
}

async function keysetOf(count: number): Promise<{ keyset: Keyset; ids: string[] }> {
  const ids = Array.from({ length: count }, newKeyId);
  const created = new Date(0).toISOString();
  const keys = ids.map((id) => ({ id, created, since: created, state: 'promoted' as const }));
  const manifest = {
    formatVersion: 1,
    contextId: '00'.repeat(16),
    generation: 0,
    hash: '',
    primary: ids[0]!,
    keys,
  } as const;
  return {
    keyset: await Keyset.load({ signal: new AbortController().signal }, manifest, () =>
      Promise.resolve(new SecretBytes(randomBytes(32))),
    ),
    ids,
  };
}
