// What a token's view does with a host that has lost its login: the real thing is tested in integration/pkcs11.
import { FakeClock, newDirectory, rejectsWithCode, rememberSecret } from '@teapot-kms/testing';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { PinLedger } from '../../../src/stores/pkcs11/pin-ledger.ts';
import { Token } from '../../../src/stores/pkcs11/token.ts';
import { parsePkcs11Uri } from '../../../src/stores/pkcs11/uri.ts';
import { SecretBytes } from '../../../src/util/secret-bytes.ts';
import { TokenFailure } from '../../../src/stores/pkcs11/token-host/protocol.ts';
import type { Ask, FailureKind } from '../../../src/stores/pkcs11/token-host/protocol.ts';
import { newChannelKey, SealedChannel } from '../../../src/stores/pkcs11/token-host/sealed-channel.ts';
import { TokenHost } from '../../../src/stores/pkcs11/token-host/token-host.ts';
import type { CallOptions } from '../../../src/stores/pkcs11/token-host/calls-under-way.ts';
import { systemClock } from '../../../src/util/clock.ts';
import { CHEAP } from '../../support/pin-ledgers.ts';
import { writeWithMode } from '../../support/directories.ts';
import { TOKEN } from '../../support/tokens.ts';

const PIN = 'a-pin-of-token.test.ts';
rememberSecret(Buffer.from(PIN));

/** A token host of one process that answers at once, and can forget a login. */
class FakeHost {
  generation = 1;
  readonly isReducedToOneThread = false;
  readonly logins = new Map<string, Promise<void>>();
  readonly counters = {
    token_host_starts: 1,
    token_host_calls: 0,
    token_host_retries: 0,
    token_host_messages: 0,
    token_sessions_opened: 0,
  };
  loggedIn = false;
  /** Somebody else logs in just after `token` was asked. */
  otherLogsIn = false;
  failWith: FailureKind | undefined;
  failTokenWith: FailureKind | undefined;
  readonly counts = { token: 0, login: 0, list: 0 };
  readonly loginOptions: CallOptions[] = [];
  /** How often the process still ends before it answers `list` or `login`. */
  deaths = 0;
  /** The process ends once, at the first call after a login. */
  diesAfterLogin = false;
  readonly channel = new SealedChannel(newChannelKey());
  pin = '';

  call = (async (ask: Ask<'token' | 'login' | 'list'>, options: CallOptions) => {
    this.counts[ask.op]++;
    await Promise.resolve();
    if (ask.op === 'token') {
      if (this.failTokenWith) throw new TokenFailure(this.failTokenWith, 'CKR_X in C_GetSessionInfo');
      const { loggedIn } = this;
      this.loggedIn ||= this.otherLogsIn;
      return { ...TOKEN, pinFinalTry: false, pinLocked: false, loggedIn };
    }
    if (this.deaths > 0 && (ask.op === 'login' || this.loggedIn)) {
      this.deaths--;
      this.generation++;
      this.loggedIn = false;
      throw new TokenFailure('host-ended', 'the token host: it ended by itself');
    }
    if (ask.op === 'login') {
      this.loginOptions.push(options);
      if (this.failWith) throw new TokenFailure(this.failWith, 'CKR_X in C_Login');
      if (this.loggedIn) return false;
      if (this.diesAfterLogin) this.deaths = 1;
      this.diesAfterLogin = false;
      this.pin = this.channel.open(ask.pin).expose().toString();
      return (this.loggedIn = true);
    }
    if (!this.loggedIn) throw new TokenFailure('no-login', 'not logged in');
    if (this.failWith) throw new TokenFailure(this.failWith, 'CKR_X in C_FindObjects');
    return ['key'];
  }) as unknown as TokenHost['call'];
}

function newToken() {
  const directory = newDirectory();
  const pinFile = join(directory, 'pin');
  writeWithMode(pinFile, PIN, 0o600);
  const host = new FakeHost();
  const uri = parsePkcs11Uri(`pkcs11:token=teapot;object=kek?module-name=m&pin-source=file:${pinFile}`);
  const stateDirectory = join(directory, 'state');
  const clock = new FakeClock();
  const openOther = () => {
    const token = new Token({ uri, host, stateDirectory, clock, scrypt: CHEAP });
    const list = (signal = AbortSignal.timeout(10_000)) =>
      token.call({ op: 'list', token: uri.token, label: 'kek' }, { signal });
    return { token, list };
  };
  return { ...openOther(), openOther, host, clock, ledger: new PinLedger(stateDirectory, TOKEN, { clock }) };
}

const outcomesIn = ({ file }: PinLedger) =>
  (JSON.parse(readFileSync(file, 'utf8')) as { pins: { outcome: string }[] }).pins.map(({ outcome }) => outcome);

test('the first call logs in with the PIN of its source, the next ones do not', async () => {
  const { token, host, list } = newToken();
  assert.equal(await list(), ['key']);
  assert.equal(await list(), ['key']);
  assert.is(host.pin, PIN);
  assert.equal([host.counts.login, token.logins], [1, 1]);
});

test('a module that demands a login before it describes its token is an error: the login does not wait for itself', async () => {
  const { host, list } = newToken();
  host.failTokenWith = 'no-login';
  await rejectsWithCode(() => list(), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.equal([host.counts.token, host.counts.login], [1, 0]);
});

test('a call whose process ends is repeated once, after a login to the next process', async () => {
  const { host, list } = newToken();
  await list();
  host.deaths = 1;
  assert.equal(await list(), ['key']);
  assert.is(host.counts.login, 2);
  assert.is(host.counters.token_host_retries, 1);
  host.deaths = 2;
  const error = await rejectsWithCode(() => list(), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.is(error.message, 'the token host: it ended by itself');
});

test('a call whose process ends after its login is repeated in the next one, after another login', async () => {
  const { host, list } = newToken();
  host.diesAfterLogin = true;
  assert.equal(await list(), ['key']);
  assert.is(host.counts.login, 2);
});

test('a login whose process ends is not repeated: the token may have seen the PIN', async () => {
  const { host, list, ledger } = newToken();
  host.deaths = 1;
  await rejectsWithCode(() => list(), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.is(host.counts.login, 1);
  assert.equal(outcomesIn(ledger), ['attempted']);
});

test('a thousand calls that find the login gone share one new login', async () => {
  const { host, list } = newToken();
  await list();
  host.loggedIn = false;
  const all = await Promise.all(Array.from({ length: 1_000 }, () => list()));
  assert.ok(all.every((keys) => keys[0] === 'key'));
  assert.equal([host.counts.login, host.counts.token], [2, 2]);
});

test('of instances that start at once one logs in, and the others find that out', async () => {
  const { host, token, list, openOther } = newToken();
  const others = Array.from({ length: 20 }, openOther);
  await Promise.all([list(), ...others.map((other) => other.list())]);
  assert.is(host.counts.login, 1);
  assert.is(host.counts.token, 1);
  assert.is(
    others.reduce((sum, other) => sum + other.token.logins, token.logins),
    1,
  );
});

test('instances that start at once with a wrong PIN are all told of the one refusal', async () => {
  const { host, list, openOther } = newToken();
  host.failWith = 'pin-refused';
  const lists = [list, ...Array.from({ length: 20 }, () => openOther().list)];
  const told = await Promise.allSettled(lists.map((one) => one()));
  for (const one of told) assert.match((one as PromiseRejectedResult).reason as string, /refused the PIN/);
  assert.equal([host.counts.login, host.counts.token], [1, 1]);
});

test('a new process of the host is logged in to anew', async () => {
  const { host, list } = newToken();
  await list();
  host.generation++;
  host.loggedIn = false;
  assert.equal(await list(), ['key']);
  assert.is(host.counts.login, 2);
});

test('where another instance has logged in meanwhile, nothing is recorded of our PIN', async () => {
  const { host, list, ledger } = newToken();
  host.otherLogsIn = true;
  assert.equal(await list(), ['key']);
  assert.equal(outcomesIn(ledger), []);
  assert.is(host.pin, '');
});

test('who gives up does not end the login that others wait for', async () => {
  const { host, list } = newToken();
  const giveUp = new AbortController();
  const [impatient, patient] = [list(giveUp.signal), list()];
  giveUp.abort();
  await rejectsWithCode(() => impatient, 'ERR_KMS_CANCELLED');
  assert.equal(await patient, ['key']);
  assert.is(host.counts.login, 1);
});

for (const [kind, outcome] of [
  ['pin-refused', 'refused'],
  ['pin-locked', 'locked'],
] as const) {
  test(`${kind}: it is recorded, and everybody is told without another try`, async () => {
    const { host, list, ledger, clock } = newToken();
    host.failWith = kind;
    for (let i = 0; i < 3; i++) {
      await rejectsWithCode(() => list(), 'ERR_KMS_STORE_UNAVAILABLE');
      await clock.advance(1_001);
    }
    assert.equal(outcomesIn(ledger), [outcome]);
    assert.is(host.counts.login, 1);
  });
}

test('a login that failed before the token was shown the PIN costs no try, however often', async () => {
  const { host, openOther, ledger, clock } = newToken();
  host.failWith = 'not-begun';
  for (let i = 0; i < 4; i++) {
    const error = await rejectsWithCode(() => openOther().list(), 'ERR_KMS_STORE_UNAVAILABLE');
    assert.match(error.message, 'CKR_X in C_Login');
    await clock.advance(1_001);
  }
  assert.equal(outcomesIn(ledger), []);
  host.failWith = undefined;
  assert.equal(await openOther().list(), ['key']);
});

test('a token without a user PIN says so, and the PIN is tried again', async () => {
  const { host, list, ledger, clock } = newToken();
  host.failWith = 'pin-not-set';
  for (let i = 0; i < 4; i++) {
    const error = await rejectsWithCode(() => list(), 'ERR_KMS_STORE_UNAVAILABLE');
    assert.match(error.message, 'has no user PIN yet');
    await clock.advance(1_001);
  }
  assert.equal(outcomesIn(ledger), []);
  host.failWith = undefined;
  assert.equal(await list(), ['key']);
});

const codes = [
  ['refused', 'ERR_KMS_UNWRAP_FAILED'],
  ['ambiguous', 'ERR_KMS_STORE_UNAVAILABLE'],
  ['no-key', 'ERR_KMS_KEY_GONE'],
  ['forbidden', 'ERR_KMS_KEY_GONE'],
  ['unusable', 'ERR_KMS_STORE_UNAVAILABLE'],
  ['unavailable', 'ERR_KMS_STORE_UNAVAILABLE'],
] as const;
for (const [kind, code] of codes) {
  test(`${kind} becomes ${code}, with what the token said`, async () => {
    const { host, list } = newToken();
    await list();
    host.failWith = kind;
    const error = await rejectsWithCode(() => list(), code);
    assert.match(error.message, 'CKR_X in C_FindObjects');
  });
}

test('a PIN that cannot be read is told, and costs no login', async () => {
  const host = new FakeHost();
  const uri = parsePkcs11Uri('pkcs11:token=teapot;object=kek?module-name=m&pin-source=file:/no/such/pin');
  const token = new Token({ uri, host, stateDirectory: newDirectory(), clock: systemClock });
  const ask = () => token.call({ op: 'list', token: uri.token, label: 'kek' }, { signal: AbortSignal.timeout(60_000) });
  const error = await rejectsWithCode(ask, 'ERR_KMS_STORE_UNAVAILABLE');
  assert.is(error.message, '/no/such/pin: no such file');
  assert.is(host.counts.login, 0);
});

test('the PIN is wiped once the login is over', async () => {
  const wiped: number[] = [];
  const wipe: (this: SecretBytes) => void = Reflect.get(SecretBytes.prototype, 'wipe');
  SecretBytes.prototype.wipe = function (this: SecretBytes) {
    if (this.length === PIN.length) wiped.push(this.length);
    wipe.call(this);
  };
  try {
    const { host, list } = newToken();
    host.failWith = 'pin-refused';
    await rejectsWithCode(() => list(), 'ERR_KMS_STORE_UNAVAILABLE');
  } finally {
    SecretBytes.prototype.wipe = wipe;
  }
  assert.equal(wiped, [PIN.length]);
});

test('stops of the plugin before its login is sent cost no try, however often', async () => {
  const { openOther, host, ledger, clock } = newToken();
  const call = host.call;
  host.call = (ask, options) => {
    if (ask.op !== 'login') return call(ask, options);
    const closing = new TokenHost({ modulePath: '/module.so', sessions: 1, callTimeoutMs: 1_000, clock: systemClock });
    const answer = closing.call(ask, options);
    void closing.close();
    return answer;
  };
  for (let i = 0; i < 3; i++) {
    await rejectsWithCode(() => openOther().list(), 'ERR_KMS_CLOSED');
    await clock.advance(1_001);
  }
  assert.equal(outcomesIn(ledger), []);
  host.call = call;
  assert.equal(await openOther().list(), ['key']);
});

test.run();
