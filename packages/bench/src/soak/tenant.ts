import { KmsClient } from '@teapot-kms/server';
import { until } from '@teapot-kms/testing';
import { randomBytes, randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

/** Objects that a tenant keeps. A new one replaces a random one of them. */
const KEPT = 100;
/** As kube-apiserver: most calls read. */
const READS_PER_WRITE = 10;
const PAUSE_MS = 25;
/** No call may fail because the machine is slow. */
const TIMEOUT_MS = 60_000;
/** With the envelope around it, still within what KMS v2 allows. */
const MAX_PLAINTEXT_BYTES = 512;

interface Kept {
  readonly plaintext: Buffer;
  readonly ciphertext: Buffer;
  readonly keyId: string;
}

/** Writes and reads through one instance until it is ended, and compares all that it reads with what it wrote. */
export class SoakTenant {
  calls = 0;
  /** Decrypts that returned something else than was encrypted. */
  wrong = 0;
  /** Failed calls by the first line of the error. */
  readonly failed = new Map<string, number>();
  readonly #client: KmsClient;
  readonly #kept: Kept[] = [];
  #ended = false;
  #current: Promise<void> = Promise.resolve();
  readonly #done: Promise<void>;

  constructor(socket: string) {
    this.#client = new KmsClient(socket, TIMEOUT_MS);
    this.#done = this.#run();
  }

  /** Ids of the keys that the tenant's objects need. */
  get keyIds(): ReadonlySet<string> {
    return new Set(this.#kept.map(({ keyId }) => keyId));
  }

  /** Writes every object again, as a rotation does. Nothing that began before uses an older ciphertext afterwards. */
  async rewrite(): Promise<void> {
    for (const index of this.#kept.keys()) this.#kept[index] = await this.#write(this.#kept[index]!.plaintext);
    await this.#current;
  }

  /** Waits until the plugin knows that a key is retired. */
  async untilRetired(keyId: string): Promise<void> {
    await until(`${keyId} is retired`, async () => {
      const { keys } = (await this.#client.describe()) as { keys: { id: string; state: string }[] };
      return keys.some(({ id, state }) => id === keyId && state === 'retired');
    });
  }

  /** Reads every object, ends the calls, and waits for the last one. */
  async end(): Promise<void> {
    this.#ended = true;
    await this.#done;
    for (const kept of this.#kept) await this.#read(kept);
    this.#client.close();
  }

  async #run(): Promise<void> {
    for (let turn = 0; !this.#ended; turn++) {
      this.#current = this.#step(turn).catch((error: unknown) => {
        const message = String(error).split('\n')[0]!;
        this.failed.set(message, (this.failed.get(message) ?? 0) + 1);
      });
      await this.#current;
      await sleep(PAUSE_MS);
    }
  }

  async #step(turn: number): Promise<void> {
    if (this.#kept.length > 0 && turn % (READS_PER_WRITE + 1) !== 0) {
      return this.#read(this.#kept[randomInt(this.#kept.length)]!);
    }
    await this.#client.status();
    const written = await this.#write(randomBytes(randomInt(1, MAX_PLAINTEXT_BYTES)));
    this.#kept[this.#kept.length < KEPT ? this.#kept.length : randomInt(KEPT)] = written;
  }

  async #write(plaintext: Buffer): Promise<Kept> {
    this.calls++;
    return { plaintext, ...(await this.#client.encrypt(plaintext, 'soak')) };
  }

  async #read({ plaintext, ciphertext, keyId }: Kept): Promise<void> {
    this.calls++;
    if (!plaintext.equals(await this.#client.decrypt(ciphertext, keyId, 'soak'))) this.wrong++;
  }
}
