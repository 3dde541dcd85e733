import { FakeClock, FaultInjectingSource, settle } from '@teapot-kms/testing';
import type { FakeKeysetStore } from '@teapot-kms/testing';
import { generateKey, promoteKey } from '../../src/keyset/administration.ts';
import type { KeysetServiceOptions } from '../../src/service/keyset-service.ts';
import { KeysetService } from '../../src/service/keyset-service.ts';
import { collectEvents } from './events.ts';

export interface Started {
  readonly service: KeysetService;
  readonly source: FaultInjectingSource;
  readonly store: FakeKeysetStore;
  readonly clock: FakeClock;
  readonly primary: string;
  readonly events: ReturnType<typeof collectEvents>;
}

/** A service over a keyset of one key, not started yet. */
export async function makeService(options: Partial<KeysetServiceOptions> = {}): Promise<Started> {
  const [source, clock, events] = [new FaultInjectingSource(), new FakeClock(), collectEvents()];
  const store = source.admin;
  const { keyId } = await generateKey(store);
  const service = new KeysetService({ source, clock, onEvent: events.onEvent, ...options });
  return { service, source, store, clock, events, primary: keyId };
}

/** A service that has loaded its keyset. */
export async function startService(options: Partial<KeysetServiceOptions> = {}): Promise<Started> {
  const made = await makeService(options);
  made.service.start();
  await settle();
  return made;
}

/** Adds a key and makes it the primary in one go, and lets the watchers load it. */
export async function rotate({ store }: Pick<Started, 'store'>): Promise<string> {
  const { keyId } = await generateKey(store);
  await promoteKey(store, keyId);
  await settle();
  return keyId;
}
