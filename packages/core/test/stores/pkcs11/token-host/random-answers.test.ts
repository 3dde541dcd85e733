// Whatever the process of a module sends, a call gets the right answer or an error of ours, and the plugin goes on.
import { newDirectory, rememberSecret } from '@teapot-kms/testing';
import { randomBytes, randomInt } from 'node:crypto';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { duplexPair } from 'node:stream';
import type { Duplex } from 'node:stream';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { HostPipe } from '../../../../src/stores/pkcs11/token-host/host-pipe.ts';
import type { HostProcessOptions } from '../../../../src/stores/pkcs11/token-host/host-process.ts';
import { encodeMessage, MessageReader } from '../../../../src/stores/pkcs11/token-host/message-pipe.ts';
import { failureKinds } from '../../../../src/stores/pkcs11/token-host/protocol.ts';
import type { Ask, FromHost, Reply, Request } from '../../../../src/stores/pkcs11/token-host/protocol.ts';
import { wrapWithPublicKey } from '../../../../src/stores/pkcs11/token-host/rsa-oaep.ts';
import { SealedChannel } from '../../../../src/stores/pkcs11/token-host/sealed-channel.ts';
import { TokenHost } from '../../../../src/stores/pkcs11/token-host/token-host.ts';
import { Token } from '../../../../src/stores/pkcs11/token.ts';
import { parsePkcs11Uri } from '../../../../src/stores/pkcs11/uri.ts';
import { SecretBytes } from '../../../../src/util/secret-bytes.ts';
import { sleep, systemClock } from '../../../../src/util/clock.ts';
import type { Clock } from '../../../../src/util/clock.ts';
import { patient } from '../../../support/context.ts';
import { writeWithMode } from '../../../support/directories.ts';
import { fuzzRuns } from '../../../support/fuzz.ts';
import { CHEAP } from '../../../support/pin-ledgers.ts';
import { damaged, loadAgainAndAgain, mutated, Random } from '../../../support/random-answers.ts';
import { TOKEN } from '../../../support/tokens.ts';

/** 10^5 in the full run. */
const RUNS = Math.min(fuzzRuns(500), 100_000);
/** `TEAPOT_FUZZ_SEED` repeats a run. */
const SEED = Number(process.env['TEAPOT_FUZZ_SEED'] ?? randomInt(2 ** 31));
/** Heap and buffers at the end, over those at the start. Every answer of 10^5 would be more. */
const MAX_GROWTH_MB = 16;

const PIN = 'a-pin-of-random-answers.test.ts';
rememberSecret(Buffer.from(PIN));
const PUBLIC_KEY = { modulus: Buffer.alloc(256, 0xc5), exponent: Buffer.of(1, 0, 1) };

/** Local KEKs by what they are wrapped to. */
const localKeks = new Map(Array.from({ length: 8 }, () => [randomBytes(60).toString('hex'), randomBytes(32)] as const));
for (const key of localKeks.values()) rememberSecret(key);

/** A process that answers right, nearly right, or anything, and sometimes ends. */
class WildProcess {
  readonly pid = 1;
  readonly #options: HostProcessOptions;
  readonly #random: Random;
  readonly #channel: SealedChannel;
  readonly #ours: HostPipe;
  readonly #theirs: Duplex;
  #sealedBefore: Buffer = Buffer.alloc(72);
  #loggedIn = false;
  #ended = false;

  constructor(options: HostProcessOptions, random: Random) {
    this.#options = options;
    this.#random = random;
    this.#channel = new SealedChannel(options.channelKey);
    const [ours, theirs] = duplexPair();
    this.#theirs = theirs;
    const stopWaiting = options.clock.after(30_000, () => this.kill('the module did not initialise within 30 s'));
    this.#ours = new HostPipe(ours, {
      onMessage: (message) => {
        if (message.type === 'replies') return options.onReplies(message.replies);
        stopWaiting();
        if (message.type === 'started') options.onStarted();
        else if (message.type === 'broken') this.kill(message.message);
      },
      onViolation: (reason) => this.kill(reason),
    });
    const reader = new MessageReader((message) => {
      if (message === 'stop') this.kill('it was stopped');
      else this.#answer(message as readonly Request[]);
    });
    theirs.on('data', (chunk: Buffer) => reader.add(chunk));
    this.#send({ type: 'started' });
  }

  send(message: readonly Request[] | 'stop'): void {
    this.#ours.send(message);
  }

  kill(reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#ours.close();
    queueMicrotask(() => this.#options.onEnd(reason));
  }

  stop(): Promise<void> {
    this.kill('it was stopped');
    return Promise.resolve();
  }

  #send(message: FromHost): void {
    const random = this.#random;
    if (this.#ended) return;
    if (random.oneIn(150)) return this.kill('it ended by itself, by SIGSEGV');
    const wild = random.oneIn(60) ? random.of(['x', null, 7, [], {}, { type: 'broken', message: '\ud83d' }]) : message;
    const bytes = encodeMessage(random.oneIn(40) ? mutated(wild, random) : wild);
    this.#theirs.write(random.oneIn(100) ? damaged(bytes, random) : bytes);
    if (random.oneIn(100)) this.#theirs.write(random.bytes(random.below(40)));
    if (random.oneIn(100)) setImmediate(() => this.kill('it ended by itself, with code 1'));
  }

  #answer(requests: readonly Request[]): void {
    const random = this.#random;
    const replies = requests.map(({ id, ask }): Reply => {
      const failure = { kind: random.of(failureKinds), message: `CKR 😀 ${'\ud83d'.repeat(random.below(2))}` };
      // No refusal of the PIN by chance: it would be the last login.
      if (random.oneIn(12) && ask.op !== 'login') return { id, failure, sessionsOpened: 0 };
      return { id: random.oneIn(80) ? random.below(9) : id, value: this.#value(ask), sessionsOpened: random.below(2) };
    });
    // Answers to each other's questions.
    if (replies.length > 1 && random.oneIn(10)) {
      const [first, second] = replies;
      replies.splice(0, 2, { ...first!, id: second!.id }, { ...second!, id: first!.id });
    }
    this.#send({ type: 'replies', replies });
    if (random.oneIn(60)) this.#send({ type: 'replies', replies });
  }

  #value(ask: Ask): unknown {
    const random = this.#random;
    switch (ask.op) {
      case 'token':
        return { ...TOKEN, pinFinalTry: false, pinLocked: false, loggedIn: this.#loggedIn };
      case 'login':
        return !this.#loggedIn && (this.#loggedIn = true);
      case 'key':
        return { mechanism: 'rsa-oaep-sha1', remarks: [], publicKey: random.oneIn(4) ? this.#oddKey() : PUBLIC_KEY };
      case 'list':
        return Array.from({ length: random.below(4) }, () => 'key');
      case 'unwrap': {
        if (random.oneIn(20)) return this.#sealedBefore;
        if (random.oneIn(20)) return random.bytes(72);
        const blob = Buffer.from(ask.blob);
        const key = new SecretBytes(Buffer.from(localKeks.get(blob.toString('hex'))!));
        this.#sealedBefore = this.#channel.seal(key, blob);
        return this.#sealedBefore;
      }
      case 'wrap':
      case 'generate':
      case 'import':
      case 'destroy':
      case 'trial':
        return undefined;
    }
  }

  #oddKey(): { modulus: Buffer; exponent: Buffer } {
    const random = this.#random;
    const modulus = random.of([PUBLIC_KEY.modulus, Buffer.alloc(256), random.bytes(256), random.bytes(3)]);
    return { modulus, exponent: random.of([PUBLIC_KEY.exponent, Buffer.of(1), Buffer.of(0), random.bytes(4)]) };
  }
}

/** A clock that runs a hundred times as fast: a call that hangs is waited for. */
class FastClock implements Clock {
  #skippedMs = 0;

  now(): number {
    return SPEED * systemClock.now() + this.#skippedMs;
  }

  wall(): number {
    return systemClock.wall();
  }

  after(ms: number, fn: () => void, keepAlive?: boolean): () => void {
    return systemClock.after(ms / SPEED, fn, keepAlive);
  }

  skip(ms: number): void {
    this.#skippedMs += ms;
  }
}
const SPEED = 100;

/** Buffers are freed some turns after their objects. */
async function memoryMb(): Promise<number> {
  for (let passes = 0; passes < 3; passes++) {
    globalThis.gc?.();
    await sleep(systemClock, 20);
  }
  const { heapUsed, external } = process.memoryUsage();
  return (heapUsed + external) / 2 ** 20;
}

test(`${RUNS} times random answers of the process of a module (seed ${SEED})`, async () => {
  const random = new Random(SEED);
  const clock = new FastClock();
  const directory = newDirectory();
  const pinFile = join(directory, 'pin');
  writeWithMode(pinFile, PIN, 0o600);
  const uri = parsePkcs11Uri(`pkcs11:token=teapot;object=kek?module-name=m&pin-source=file:${pinFile}`);
  const stateDirectory = join(directory, 'state');
  const host = new TokenHost({
    modulePath: '/module.so',
    sessions: 2,
    callTimeoutMs: 5_000,
    clock,
    spawn: (options) => new WildProcess(options, random),
  });
  const tokens = [0, 1].map(() => new Token({ uri, host, stateDirectory, clock, scrypt: CHEAP }));
  const select = { token: uri.token, label: 'kek', keyId: 'key' };
  let opened = 0;

  const unwrap = async (token: Token): Promise<void> => {
    const [hex, key] = random.of([...localKeks]);
    const blob = Buffer.from(hex, 'hex');
    const sealed = await token.call({ op: 'unwrap', ...select, mechanism: 'aes-gcm', blob }, patient);
    const localKek = host.channel.open(sealed, blob);
    assert.equal(localKek.expose(), key, 'a wrong local KEK');
    localKek.wipe();
    opened++;
  };
  const describe = async (token: Token): Promise<void> => {
    const { publicKey } = await token.call({ op: 'key', ...select, mechanisms: ['rsa-oaep-sha1'] }, patient);
    if (!publicKey) return;
    const key = randomBytes(32);
    assert.not.ok(wrapWithPublicKey(publicKey, 'sha1', key).includes(key), 'the key is there to read');
  };
  const list = async (token: Token): Promise<void> => {
    await token.call({ op: 'list', token: uri.token, label: 'kek' }, patient);
  };

  // Nothing here has a kernel's descriptor, and timers of the clock do not keep a process alive.
  const alive = setInterval(() => undefined, 1_000);
  const before = await memoryMb();
  let loaded = 0;
  try {
    ({ loaded } = await loadAgainAndAgain(
      'token host',
      RUNS,
      () => {
        // Processes start again without a wait, and logins without an answer are forgiven.
        clock.skip(61_000);
        rmSync(stateDirectory, { recursive: true, force: true });
      },
      async () => {
        const work = tokens.map((token) => random.of([unwrap, unwrap, describe, list])(token));
        // The others are waited for too, or they would be of the next run.
        await Promise.allSettled(work);
        await Promise.all(work);
      },
    ));
  } finally {
    await host.close();
    clearInterval(alive);
  }
  assert.ok(loaded > RUNS / 4 && opened > RUNS / 4, `${loaded} loads, ${opened} opened`);
  const growthMb = (await memoryMb()) - before;
  assert.ok(growthMb < MAX_GROWTH_MB, `${growthMb} MB more`);
});

test.run();
