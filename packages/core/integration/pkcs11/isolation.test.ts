// What becomes of one module, token or tenant is not another's trouble (design D8, D10).
import type { Shim, SoftHsm, Token } from '@teapot-kms/testing/daemons';
import { figure, until } from '@teapot-kms/testing';
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'uvu';
import { KmsError } from '../../src/errors.ts';
import { LocalKekService } from '../../src/service/local-kek/local-kek-service.ts';
import { SharedResources } from '../../src/util/shared-resources.ts';
import { pkcs11 } from '../../src/stores/pkcs11/token-host/child/pkcs11.ts';
import type { Pkcs11 } from '../../src/stores/pkcs11/token-host/child/pkcs11.ts';
import { findToken } from '../../src/stores/pkcs11/token-host/child/sessions.ts';
import { sealedKey, shimmedToken } from './support/rig.ts';
import type { Sealed, SealedKey } from './support/rig.ts';
import { newDirectory, newKek, openKek, patient } from './support/tokens.ts';
import type { KekOptions } from './support/tokens.ts';

const HOUR = 3_600_000;

interface Place {
  readonly token: Token;
  readonly key: SealedKey;
}

/** An instance that caches nothing for long: nearly each Decrypt is an unwrap. */
class Instance {
  readonly service: LocalKekService;
  readonly #key: SealedKey;
  readonly #directory = newDirectory();
  tookMs: number[] = [];
  failures = 0;

  constructor(
    { token, key }: Place,
    shared: SharedResources,
    { sessions = 2, probeIntervalMs = 200, callTimeout = '5s' } = {},
  ) {
    this.#key = key;
    const settings = { sessions, callTimeout, stateDirectory: join(this.#directory, 'state') };
    const remote = openKek({ token, directory: key.directory, label: key.label, shared, settings });
    this.service = new LocalKekService({ remote, cacheEntries: 1, probeIntervalMs });
    this.service.start();
  }

  counter(name: string): number {
    return this.service.describe().counters[name]!;
  }

  async opens(sealed: Sealed): Promise<void> {
    const started = performance.now();
    try {
      const plaintext = await this.service.decrypt(sealed, patient());
      assert.ok(plaintext.equals(sealed.plaintext), 'a wrong plaintext');
      this.tookMs.push(performance.now() - started);
    } catch (error) {
      if (!(error instanceof KmsError)) throw error;
      assert.equal(error.code, 'ERR_KMS_STORE_UNAVAILABLE', error.message);
      this.failures++;
    }
  }

  /** Decrypts, four at a time, until `work` is done. */
  async load(work: Promise<void>): Promise<void> {
    let going = true;
    const envelopes = this.#key.envelopes;
    const caller = async (at: number) => {
      for (let i = at; going; i++) {
        await this.opens(envelopes[i % envelopes.length]!);
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    };
    const callers = Promise.all([0, 5, 10, 15].map(caller));
    await work.finally(() => (going = false));
    await callers;
  }

  async works(): Promise<void> {
    await until('it works', () => this.service.decrypt(this.#key.envelopes[0]!, patient()), { everyMs: 20 });
  }
}

const percentile = (times: readonly number[], share: number) =>
  times.toSorted((a, b) => a - b)[Math.floor(times.length * share)]!;

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

const parts = await shimmedToken('isolation of token hosts on SoftHSM2');
if (parts) {
  const { softHsm, shim } = parts;
  const other = await softHsm.initSecondToken({ label: 'other' });
  const ill = { token: shim, key: await sealedKey(shim, 20) };
  // The same library, without the shim: a module of its own, so a host of its own.
  const well = { token: other, key: await sealedKey(other, 20) };
  registerHosts(shim, ill, well);
  registerTenants(softHsm, shim, ill);
}

function registerHosts(shim: Shim, ill: Place, well: Place): void {
  test('while one token host is killed, hangs and crashes the other answers everything, and the first recovers', async () => {
    shim.clear();
    let pid = 0;
    const shared = new SharedResources((event) => {
      if (event.type === 'token-host-started' && event.module === shim.module) pid = event.pid!;
    });
    const callTimeout = '3s';
    const [first, second] = [new Instance(ill, shared, { callTimeout }), new Instance(well, shared)];
    await Promise.all([first.works(), second.works()]);
    await second.load(first.load(pause(1_500)));
    const quiet = second.tookMs;
    second.tookMs = [];
    assert.equal(first.failures, 0);

    const faults = async () => {
      for (const fault of [
        () => process.kill(pid, 'SIGKILL'),
        () => shim.orders('hang C_Decrypt 1'),
        () => shim.orders('segfault C_Decrypt 1'),
      ]) {
        const starts = first.counter('token_host_starts');
        fault();
        await until('the host has been started again', () => first.counter('token_host_starts') > starts, {
          everyMs: 10,
        });
        await first.works();
      }
    };
    await second.load(first.load(faults()));
    assert.equal(second.failures, 0);
    assert.equal(second.counter('token_host_starts'), 1);
    assert.equal(second.counter('probe_failures'), 0);
    assert.equal((await second.service.status()).healthz, 'ok');
    figure(
      'the other instance, quiet: p99',
      `${percentile(quiet, 0.99).toFixed(1)} ms of ${String(quiet.length)} Decrypts`,
    );
    const during = second.tookMs;
    figure(
      'the other instance while a host is killed, hangs and crashes: p99',
      `${percentile(during, 0.99).toFixed(1)} ms of ${String(during.length)} Decrypts`,
    );
    await Promise.all([first.service.close(), second.service.close()]);
  });
}

function registerTenants(softHsm: SoftHsm, shim: Shim, ill: Place): void {
  test('a thousand queued unwraps of one tenant do not keep another waiting', async () => {
    shim.clear();
    const key = await sealedKey(shim, 1_000);
    const shared = new SharedResources();
    const [greedy, modest] = [
      new Instance({ token: shim, key }, shared, { sessions: 1 }),
      new Instance(ill, shared, { sessions: 1 }),
    ];
    await Promise.all([greedy.works(), modest.works()]);
    let opened = 0;
    const all = Promise.all(key.envelopes.map((sealed) => greedy.opens(sealed).then(() => opened++)));
    await until('some are done', () => opened > 20, { everyMs: 1 });
    const before = opened;
    await modest.opens(ill.key.envelopes[1]!);
    assert.ok(opened - before < 100, `${String(opened - before)} came before it`);
    await all;
    assert.equal(opened, 1_000);
    assert.equal(greedy.failures + modest.failures, 0);
    await Promise.all([greedy.service.close(), modest.service.close()]);
  });

  test('what fails for one instance again and again does not cost the others of its module their token host', async () => {
    shim.clear();
    const mechanism = 'aes-key-wrap';
    const makeKek = (options: KekOptions) => newKek({ ...options, settings: { sessions: 1, mechanism } });
    const key = await sealedKey(shim, 2, makeKek);
    const shared = new SharedResources();
    const [unlucky, quiet] = [
      new Instance({ token: shim, key }, shared),
      new Instance(ill, shared, { probeIntervalMs: HOUR }),
    ];
    await Promise.all([unlucky.works(), quiet.works()]);
    // Which the other's key has no need of.
    shim.orders('fail C_UnwrapKey 0x30');
    await until('it failed often', () => unlucky.counter('probe_failures') >= 12, { everyMs: 20 });
    assert.equal(unlucky.counter('token_host_starts'), 1);
    shim.clear();
    await Promise.all([unlucky.service.close(), quiet.service.close()]);
  });

  test('an instance whose calls hang waits alone, and another of its module goes on', async () => {
    shim.clear();
    const makeKek = (options: KekOptions) =>
      newKek({ ...options, settings: { sessions: 1, mechanism: 'aes-key-wrap' } });
    const key = await sealedKey(shim, 2, makeKek);
    const waits: number[] = [];
    const shared = new SharedResources((event) => {
      if (event.type === 'token-host-ended') waits.push(event.restartInMs);
    });
    const own = { sessions: 8, callTimeout: '3s' };
    const [hanging, well] = [new Instance({ token: shim, key }, shared, own), new Instance(ill, shared, own)];
    await Promise.all([hanging.works(), well.works()]);
    // Which the other's key has no need of.
    shim.orders('hang C_UnwrapKey');
    await well.load(
      until('it hung often', () => waits.length >= 4, { everyMs: 20, timeoutMs: 40_000 }).then(() => undefined),
    );
    assert.deepEqual([...new Set(waits)], [0]);
    assert.equal(well.failures, 0);
    shim.clear();
    await hanging.works();
    await Promise.all([hanging.service.close(), well.service.close()]);
  });

  for (const when of ['before they start', 'while they run'] as const) {
    test(`a key that goes ${when} is looked for in one new process, however many miss it`, async () => {
      shim.clear();
      const shared = new SharedResources();
      const own = await sealedKey(shim, 1);
      const quiet = new Instance(ill, shared, { probeIntervalMs: HOUR });
      await quiet.works();
      const robbed: Instance[] = [];
      const start = () => {
        for (let i = 0; i < 5; i++) robbed.push(new Instance({ token: shim, key: own }, shared));
      };
      if (when === 'while they run') start();
      await Promise.all(robbed.map((one) => one.works()));
      await softHsm.deleteObject(Buffer.from(own.keyId).toString('hex'));
      if (when === 'before they start') start();
      for (const { service } of robbed) {
        const gone = () => service.describe().warnings.some((warning) => warning.startsWith('ERR_KMS_KEY_GONE'));
        await until('it is missed', gone, { everyMs: 20 });
      }
      await pause(1_000);
      assert.equal(quiet.counter('token_host_starts'), 2);
      await quiet.opens(ill.key.envelopes[2]!);
      assert.equal(quiet.failures, 0);
      await Promise.all([quiet, ...robbed].map(({ service }) => service.close()));
    });
  }

  test('a module that fails for all who use it is started again', async () => {
    shim.clear();
    const shared = new SharedResources();
    const [one, two] = [new Instance(ill, shared), new Instance(ill, shared)];
    await Promise.all([one.works(), two.works()]);
    // It worked for this one at last, which is closed: that must not count any more.
    await two.service.close();
    shim.orders('fail C_GetSlotList 0x30', 'fail C_DecryptInit 0x30');
    await until('it is started again', () => one.counter('token_host_starts') > 1, { everyMs: 10 });
    shim.clear();
    await one.works();
    await one.service.close();
  });

  test('a card that cannot be read in one slot does not hide the token in another', () => {
    const module = {
      C_GetSlotList: () => [Buffer.alloc(8), Buffer.alloc(8, 1)],
      C_GetTokenInfo: (slot: Buffer) => {
        if (slot[0] === 0) throw new pkcs11.Pkcs11Error('CKR_TOKEN_NOT_RECOGNIZED', 0xe1, 'C_GetTokenInfo');
        return { label: 'ours'.padEnd(32), manufacturerID: '', serialNumber: '', model: '', flags: 0 };
      },
    } as unknown as Pkcs11;
    assert.equal(findToken(module, { label: 'ours' }).slot[0], 1);
    // Nobody knows whether it is the one that is looked for.
    assert.throws(() => findToken(module, { label: 'another' }), /CKR_TOKEN_NOT_RECOGNIZED/);
  });

  for (const [count, shown] of [
    [0, 'the module shows no token at all'],
    [2, 'the module shows "t0", "t1"'],
    [10, 'the module shows "t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7", 2 more'],
  ] as const) {
    test(`a token that is not there: the error lists those that are, here ${String(count)}`, () => {
      const module = {
        C_GetSlotList: () => Array.from({ length: count }, (_, slot) => Buffer.alloc(8, slot)),
        C_GetTokenInfo: (slot: Buffer) => {
          const label = `t${String(slot[0])}`.padEnd(32);
          return { label, manufacturerID: '', serialNumber: '', model: '', flags: 0 };
        },
      } as unknown as Pkcs11;
      const message = `no token with label "ours"; ${shown}`;
      assert.throws(() => findToken(module, { label: 'ours' }), { kind: 'unavailable', message });
    });
  }
}

test.run();
