// A wrong PIN costs a token one try, over sessions, instances, token hosts and restarts (ADR 0006): counted by the shim.
import { newPin } from '@teapot-kms/testing/daemons';
import type { Shim } from '@teapot-kms/testing/daemons';
import { rejectsWithCode, until } from '@teapot-kms/testing';
import assert from 'node:assert/strict';
import { scryptSync } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import type { Pkcs11Kek } from '../../src/stores/pkcs11/pkcs11-kek.ts';
import { SecretBytes } from '../../src/util/secret-bytes.ts';
import { SharedResources } from '../../src/util/shared-resources.ts';
import { failureOf } from '../../src/stores/pkcs11/token-host/child/failures.ts';
import { TokenOperations } from '../../src/stores/pkcs11/token-host/child/operations.ts';
import { pkcs11 } from '../../src/stores/pkcs11/token-host/child/pkcs11.ts';
import type { Pkcs11 } from '../../src/stores/pkcs11/token-host/child/pkcs11.ts';
import { newChannelKey, SealedChannel } from '../../src/stores/pkcs11/token-host/sealed-channel.ts';
import { CKR, sealedKey, shimmedToken } from './support/rig.ts';
import type { SealedKey } from './support/rig.ts';
import { newDirectory, openKek, patient } from './support/tokens.ts';

/** The same host over its restarts: a state directory, and the source of the PIN. */
class Host {
  readonly #shim: Shim;
  readonly #key: SealedKey;
  readonly #sessions: number;
  readonly stateDirectory = join(newDirectory(), 'state');
  readonly pinFile = join(newDirectory(), 'pin');

  constructor(shim: Shim, key: SealedKey, pin = newPin(), sessions = 1) {
    this.#sessions = sessions;
    this.#shim = shim;
    this.#key = key;
    shim.clear();
    shim.resetCounters();
    this.pin = pin;
  }

  set pin(pin: string) {
    writeFileSync(this.pinFile, pin, { mode: 0o600 });
  }

  open(shared: SharedResources, pinFile = this.pinFile): Pkcs11Kek {
    const settings = { sessions: this.#sessions, stateDirectory: this.stateDirectory };
    const { directory, label } = this.#key;
    return openKek({ token: this.#shim, directory, label, pinFile, shared, settings });
  }

  /** Which of these PINs the record says to be good. */
  goodPins(pins: readonly string[]): boolean[] {
    const [name] = readdirSync(this.stateDirectory).filter((file) => /^pin-.*\.json$/.test(file));
    const record = JSON.parse(readFileSync(join(this.stateDirectory, name!), 'utf8')) as {
      salt: string;
      pins: { hash: string; outcome: string }[];
    };
    const good = record.pins.filter(({ outcome }) => outcome === 'good').map(({ hash }) => hash);
    const scrypt = { N: 2 ** 15, r: 8, p: 1, maxmem: 64 * 2 ** 20 };
    const hashOf = (pin: string) => scryptSync(pin, Buffer.from(record.salt, 'hex'), 32, scrypt).toString('hex');
    return pins.map((pin) => good.includes(hashOf(pin)));
  }

  /** The plugin runs once, with so many instances, each of which asks for the key at once. */
  async run(instances: number, ask: (kek: Pkcs11Kek) => Promise<unknown>): Promise<void> {
    const shared = new SharedResources();
    const keks = Array.from({ length: instances }, () => this.open(shared));
    try {
      await Promise.all(keks.map(ask));
    } finally {
      await Promise.all(keks.map((kek) => kek.close()));
    }
  }
}

const works = (kek: Pkcs11Kek) => kek.describe(patient());
const fails = (kek: Pkcs11Kek) => rejectsWithCode(() => kek.describe(patient()), 'ERR_KMS_STORE_UNAVAILABLE');

const parts = await shimmedToken('PIN discipline on SoftHSM2');
if (parts) {
  const { shim } = parts;
  const key = await sealedKey(shim, 1);

  test('a wrong PIN is one C_Login over ten restarts with two instances and eight sessions; a new PIN is one more', async () => {
    const host = new Host(shim, key, newPin(), 8);
    for (let restart = 0; restart <= 10; restart++) {
      await host.run(2, async (kek) => assert.match((await fails(kek)).message, /refused the PIN/));
    }
    assert.equal(shim.calls('C_Login'), 1);
    assert.ok(shim.calls('C_OpenSession') >= 11, 'the token was asked each time');
    host.pin = shim.pin;
    await host.run(2, works);
    assert.equal(shim.calls('C_Login'), 2);
  });

  test('a wrong PIN is one C_Login for eight unwraps at once, and again and again', async () => {
    const host = new Host(shim, key, newPin(), 8);
    await host.run(2, async (kek) => {
      for (let round = 0; round < 3; round++) {
        await Promise.all(Array.from({ length: 8 }, () => fails(kek)));
        await new Promise((resolve) => setTimeout(resolve, 600));
      }
    });
    assert.equal(shim.calls('C_Login'), 1);
  });

  test('a locked PIN is not tried again, and the error says what it is', async () => {
    const host = new Host(shim, key, shim.pin);
    shim.orders(`fail C_Login ${String(CKR.pinLocked)}`);
    for (let restart = 0; restart < 3; restart++) {
      await host.run(2, async (kek) => assert.match((await fails(kek)).message, /its PIN is locked/));
    }
    assert.equal(shim.calls('C_Login'), 1);
  });

  test('a token that says it is logged in already is as good as one that has logged in, and says nothing about the PIN', async () => {
    const host = new Host(shim, key, shim.pin);
    shim.orders(`fail-after C_Login ${String(CKR.userAlreadyLoggedIn)}`);
    await host.run(1, works);
    assert.equal(shim.calls('C_Login'), 1);
    assert.deepEqual(host.goodPins([shim.pin]), [false]);
  });

  test('a PIN that was good is tried after each crash in C_Login', async () => {
    const host = new Host(shim, key, shim.pin);
    await host.run(1, works);
    shim.orders('segfault C_Login 3');
    for (let restart = 0; restart < 3; restart++) await host.run(1, fails);
    await host.run(1, works);
    assert.equal(shim.calls('C_Login'), 5);
  });

  test('a crash in C_Login may hide a refusal: a PIN that was never good is tried twice, and then no more', async () => {
    const host = new Host(shim, key);
    shim.orders('segfault C_Login');
    for (let restart = 0; restart < 4; restart++) await host.run(2, fails);
    assert.equal(shim.calls('C_Login'), 2);
    host.pin = shim.pin;
    shim.clear();
    await host.run(2, works);
    assert.equal(shim.calls('C_Login'), 3);
  });

  /** Each code that PKCS#11 2.40 §5.6 and 3.0 name for C_Login, and what it says about the PIN. */
  const answers = {
    'pin-refused': {
      PIN_INCORRECT: 0xa0,
      PIN_INVALID: 0xa1,
      PIN_LEN_RANGE: 0xa2,
      PIN_EXPIRED: 0xa3,
      PIN_TOO_WEAK: 0x1b8,
    },
    'pin-locked': { PIN_LOCKED: 0xa4 },
    'pin-not-set': { USER_PIN_NOT_INITIALIZED: 0x102 },
    'not-begun': {
      FUNCTION_NOT_SUPPORTED: 0x54,
      SESSION_HANDLE_INVALID: 0xb3,
      TOKEN_NOT_PRESENT: 0xe0,
      TOKEN_NOT_RECOGNIZED: 0xe1,
      USER_TYPE_INVALID: 0x103,
      USER_ANOTHER_ALREADY_LOGGED_IN: 0x104,
      USER_TOO_MANY_TYPES: 0x105,
      CRYPTOKI_NOT_INITIALIZED: 0x190,
    },
    // They may come after the token has compared the PIN.
    unanswered: {
      HOST_MEMORY: 0x2,
      GENERAL_ERROR: 0x5,
      FUNCTION_FAILED: 0x6,
      ARGUMENTS_BAD: 0x7,
      DEVICE_ERROR: 0x30,
      DEVICE_MEMORY: 0x31,
      DEVICE_REMOVED: 0x32,
      FUNCTION_CANCELED: 0x50,
      OPERATION_NOT_INITIALIZED: 0x91,
      SESSION_CLOSED: 0xb0,
      SESSION_READ_ONLY_EXISTS: 0xb7,
      FUNCTION_REJECTED: 0x200,
      VENDOR_DEFINED: 0x80000000,
    },
  };
  for (const [says, codes] of Object.entries(answers)) {
    for (const [name, code] of Object.entries(codes)) {
      test(`CKR_${name} of C_Login, which is called once, says of the PIN: ${says}`, () => {
        let logins = 0;
        const module = {
          C_GetSlotList: () => [Buffer.alloc(8)],
          C_GetTokenInfo: () => ({ label: 'ours', manufacturerID: '', serialNumber: '', model: '', flags: 0 }),
          C_OpenSession: () => Buffer.alloc(8),
          C_CloseSession: () => undefined,
          C_GetSessionInfo: () => ({ state: 0 }),
          C_Login: () => {
            logins++;
            throw new pkcs11.Pkcs11Error(`CKR_${name}`, code, 'C_Login');
          },
        } as unknown as Pkcs11;
        const channel = new SealedChannel(newChannelKey());
        const pin = channel.seal(new SecretBytes(Buffer.from(newPin())));
        const operations = new TokenOperations(module, channel);
        assert.throws(
          () => operations.perform({ op: 'login', token: { label: 'ours' }, pin }),
          (error: unknown) => {
            const { kind, message } = failureOf(error);
            assert.equal(message, `CKR_${name} in C_Login`);
            const known = ['pin-refused', 'pin-locked', 'pin-not-set', 'not-begun'].includes(kind);
            assert.equal(known ? kind : 'unanswered', says);
            return true;
          },
        );
        assert.equal(logins, 1);
      });
    }
  }

  test('a token whose user PIN is not set yet works once it is, without a file to remove', async () => {
    const host = new Host(shim, key, shim.pin);
    shim.orders('fail C_Login 0x102');
    for (let restart = 0; restart < 4; restart++) {
      await host.run(2, async (kek) => assert.match((await fails(kek)).message, /has no user PIN yet/));
    }
    shim.clear();
    await host.run(2, works);
    assert.deepEqual(host.goodPins([shim.pin]), [true]);
  });

  test('a login that fails before the token is shown the PIN says so', () => {
    const closed = {
      C_GetSlotList: () => [Buffer.alloc(8)],
      C_GetTokenInfo: () => ({ label: 'ours', manufacturerID: '', serialNumber: '', model: '', flags: 0 }),
      C_OpenSession: () => {
        throw new pkcs11.Pkcs11Error('CKR_SESSION_COUNT', 0xb1, 'C_OpenSession');
      },
    } as unknown as Pkcs11;
    const operations = new TokenOperations(closed, new SealedChannel(newChannelKey()));
    const login = () => operations.perform({ op: 'login', token: { label: 'ours' }, pin: Buffer.alloc(1) });
    assert.throws(login, { kind: 'not-begun', message: 'CKR_SESSION_COUNT in C_OpenSession' });
  });

  test('a wrong PIN that comes when another instance has just logged in costs no try, and does not pass for good', async () => {
    const host = new Host(shim, key, shim.pin, 2);
    const wrongPin = join(newDirectory(), 'pin');
    writeFileSync(wrongPin, newPin(), { mode: 0o600 });
    const shared = new SharedResources();
    const [right, wrong] = [host.open(shared), host.open(shared, wrongPin)];
    // Both find nobody logged in; the second waits for the lock until the first has done it.
    shim.orders('latency C_Login 500');
    const first = works(right);
    await until('the first logs in', () => shim.calls('C_Login') === 1, { everyMs: 5 });
    await Promise.all([first, works(wrong)]);
    assert.equal(shim.calls('C_Login'), 1);
    await Promise.all([right.close(), wrong.close()]);
    assert.deepEqual(host.goodPins([shim.pin, readFileSync(wrongPin, 'utf8')]), [true, false]);
  });
}

test.run();
