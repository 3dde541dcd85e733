import { FakeKeysetStore, FakeToken, FaultInjectingRemoteKek, FaultInjectingSource } from '@teapot-kms/testing';
import { generateKey, KeysetService, LocalKekService, newKeyId } from '@teapot-kms/core';
import type { DecryptRequest, KmsService } from '@teapot-kms/core';
import { keysetService, localKekService, newEnvelopeKey, patient, plaintexts, untilOk } from '../micro/material.ts';
import type { CounterName } from './bounds.ts';

export type Counted = Partial<Record<CounterName, number>>;

const CALLS = 1_000;
const WRAPPED_KEYS = 40;

/** What other replicas have sealed, each in turn: 1,000 requests over 40 wrapped keys. */
export async function stormOn(remote: () => FaultInjectingRemoteKek | LocalRemote): Promise<DecryptRequest[]> {
  const service = new LocalKekService({ remote: remote(), direct: true });
  service.start();
  await untilOk(service);
  const sealed = await Promise.all(plaintexts.slice(0, WRAPPED_KEYS).map(async (one) => service.encrypt(one, patient)));
  await service.close();
  return Array.from({ length: CALLS }, (_, index) => sealed[index % WRAPPED_KEYS]!);
}

type LocalRemote = ConstructorParameters<typeof LocalKekService>[0]['remote'];

/** How often the key store is asked, and how much is waited for, over stores in memory. */
export async function countCalls(): Promise<Counted> {
  const token = new FakeToken();
  const storm = await stormOn(() => new FaultInjectingRemoteKek(token));
  return {
    ...(await coldStorm(token, storm, 'at once')),
    ...(await coldStorm(token, storm, 'one by one')),
    ...(await wrapsOfEncrypts()),
    ...(await loadsForUnknownKeys()),
    'promises of 1,000 warm calls': await promisesWhenWarm(),
  };
}

async function coldStorm(token: FakeToken, storm: readonly DecryptRequest[], how: 'at once' | 'one by one') {
  const remote = new FaultInjectingRemoteKek(token);
  const service = new LocalKekService({ remote });
  service.start();
  await untilOk(service);
  if (how === 'at once') await Promise.all(storm.map(async (one) => service.decrypt(one, patient)));
  else for (const one of storm) await service.decrypt(one, patient);
  const { coalesced_unwraps: coalesced = 0 } = service.describe().counters;
  const [unwraps, describes] = [remote.unwrapping.calls, remote.describing.calls];
  await service.close();
  const counted: Counted = {
    [`unwraps of 1,000 cold Decrypts ${how}, 40 wrapped keys` as const]: unwraps,
    [`descriptions for 1,000 cold Decrypts ${how}` as const]: describes,
  };
  return how === 'one by one'
    ? counted
    : { ...counted, 'Decrypts of 1,000 that did not share an unwrap': CALLS - coalesced };
}

async function wrapsOfEncrypts(): Promise<Counted> {
  const remote = new FaultInjectingRemoteKek();
  const service = new LocalKekService({ remote });
  service.start();
  await untilOk(service);
  for (let i = 0; i < CALLS; i++) await service.encrypt(plaintexts[i % plaintexts.length]!, patient);
  await service.close();
  return { 'wraps of 1,000 Encrypts': remote.wrapping.calls };
}

/** Each names a key that the keyset has not: someone may have rotated it, so the store is looked at, but not for each. */
async function loadsForUnknownKeys(): Promise<Counted> {
  const store = new FakeKeysetStore();
  await generateKey(store);
  const source = new FaultInjectingSource(store);
  const service = new KeysetService({ source });
  service.start();
  await untilOk(service);
  const before = source.loading.calls;
  const requests = Array.from({ length: CALLS }, () => {
    const key = newEnvelopeKey();
    const ciphertext = key.seal(Buffer.from(newKeyId()));
    key.destroy();
    return { ciphertext };
  });
  await Promise.allSettled(requests.map(async (request) => service.decrypt(request, patient)));
  const loads = source.loading.calls - before;
  await service.close();
  return { 'loads for 1,000 Decrypts under unknown keys': loads };
}

async function promisesWhenWarm(): Promise<number> {
  let promises = 0;
  for (const { service, messages } of [await keysetService(), await localKekService()]) {
    for (let i = 0; i < CALLS / 4; i++) {
      promises += Number(isLater(service, messages[i % messages.length])) + Number(isLater(service, undefined));
    }
    await service.close();
  }
  return promises;
}

function isLater(service: KmsService, request: DecryptRequest | undefined): boolean {
  const answer = request ? service.decrypt(request, patient) : service.encrypt(plaintexts[0]!, patient);
  return answer instanceof Promise;
}
