// What both services have from their base, over the fake store of each.
import { rejectsWithCode, settle } from '@teapot-kms/testing';
import type { FakeClock, Faults } from '@teapot-kms/testing';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { KmsService } from '../../src/kms-service.ts';
import { patient } from '../support/context.ts';
import type { collectEvents } from '../support/events.ts';
import { makeKey } from '../support/keys.ts';
import { makeService } from '../support/keyset-service.ts';
import { makeLocal } from '../support/local-kek-service.ts';

interface Made {
  readonly service: KmsService;
  readonly clock: FakeClock;
  readonly events: ReturnType<typeof collectEvents>;
  /** Faults of the operation that the probe does. */
  readonly probing: Faults;
  readonly watchers: ReadonlySet<() => void>;
}

const kinds: Record<string, { make: () => Made | Promise<Made>; wrapped?: Buffer }> = {
  KeysetService: {
    async make() {
      const made = await makeService({ probeIntervalMs: 3_600_000 });
      return { ...made, probing: made.source.loading, watchers: made.store.watchers };
    },
  },
  LocalKekService: {
    make() {
      const made = makeLocal({ probeIntervalMs: 3_600_000 });
      return { ...made, probing: made.remote.describing, watchers: made.token.watchers };
    },
    wrapped: Buffer.alloc(60, 1),
  },
};

let keys = 0;

for (const [name, { make, wrapped }] of Object.entries(kinds)) {
  const test = suite(name);

  const started = async (): Promise<Made> => {
    const made = await make();
    made.service.start();
    await settle();
    return made;
  };

  /** Each call asks for another key that no store has. */
  const decryptUnknown = async (service: KmsService): Promise<unknown> => {
    const key = makeKey({ keyId: `key-${String(keys++)}`, ...(wrapped && { wrapped }) });
    const ciphertext = key.seal(Buffer.from('x'));
    key.destroy();
    return service.decrypt({ ciphertext }, patient);
  };

  const hint = async ({ watchers }: Made): Promise<void> => {
    for (const onChange of watchers) onChange();
    await settle();
  };

  test('a tenant that invents key ids drives one probe per second', async () => {
    const { service, clock, probing } = await started();
    const before = probing.calls;
    const asked: Promise<unknown>[] = [];
    for (let tenth = 0; tenth < 30; tenth++) {
      asked.push(rejectsWithCode(() => decryptUnknown(service), 'ERR_KMS_UNKNOWN_KEY'));
      await clock.advance(100);
    }
    await clock.advance(1_000);
    await Promise.all(asked);
    assert.is(probing.calls - before, 4, 'at 0, 1, 2 and 3 s');
    await service.close();
  });

  test('an unknown key is called unavailable while the store cannot be read', async () => {
    const { service, probing } = await started();
    probing.failWith = 'ERR_KMS_STORE_UNAVAILABLE';
    await rejectsWithCode(() => decryptUnknown(service), 'ERR_KMS_STORE_UNAVAILABLE');
    await service.close();
  });

  test('a caller that waits for its turn to refresh gets an answer at close', async () => {
    const { service } = await started();
    await rejectsWithCode(() => decryptUnknown(service), 'ERR_KMS_UNKNOWN_KEY');
    const waiting = decryptUnknown(service);
    await service.close();
    await rejectsWithCode(() => waiting, 'ERR_KMS_CLOSED');
  });

  test('the store is watched from the start to the close, by one watch', async () => {
    const made = await started();
    const { service, probing, watchers } = made;
    assert.is(watchers.size, 1);
    await hint(made);
    assert.is(probing.calls, 2);
    await service.close();
    assert.is(watchers.size, 0);
  });

  test('every recovery of the store begins a new watch', async () => {
    const made = await started();
    const { service, probing, watchers, clock } = made;
    for (let outage = 0; outage < 2; outage++) {
      const [before] = watchers;
      probing.failWith = 'ERR_KMS_STORE_UNAVAILABLE';
      await hint(made);
      probing.failWith = undefined;
      await clock.advance(700);
      assert.is(watchers.size, 1);
      assert.not.ok(watchers.has(before!));
    }
    await service.close();
  });

  test('a failure says whether a key is loaded', async () => {
    const made = await make();
    const { service, probing, events, clock } = made;
    const loadedAtFailures = () =>
      events.events.flatMap((event) => (event.type === 'store-failed' ? [event.keyLoaded] : []));
    probing.failWith = 'ERR_KMS_STORE_UNAVAILABLE';
    service.start();
    await settle();
    assert.equal(loadedAtFailures(), [false]);
    probing.failWith = undefined;
    await clock.advance(700);
    probing.failWith = 'ERR_KMS_STORE_UNAVAILABLE';
    await hint(made);
    assert.equal(loadedAtFailures(), [false, true]);
    await service.close();
  });

  test('a lost key is an error of Status even if no key was ever loaded', async () => {
    const { service, probing, clock } = await make();
    probing.failWith = 'ERR_KMS_KEY_GONE';
    service.start();
    await clock.advance(700);
    await rejectsWithCode(() => service.status(), 'ERR_KMS_KEY_GONE');
    await service.close();
  });

  test('no timer is left after the start, but for the next probe', async () => {
    const { service, clock } = await started();
    assert.is(clock.pending, 1);
    await service.close();
    assert.is(clock.pending, 0);
  });

  test.run();
}
