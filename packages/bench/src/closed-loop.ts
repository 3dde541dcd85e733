import { KmsClient } from '@teapot-kms/server';
import { randomBytes } from 'node:crypto';

interface Sealed {
  readonly ciphertext: Buffer;
  readonly keyId: string;
  readonly plaintext: Buffer;
}

/** A client of one connection that always has as many calls in flight. Where its own cost would blur a figure, the Go client counts. */
export class ClosedLoop {
  readonly #client: KmsClient;
  readonly #inFlight: number;
  #sealed: readonly Sealed[] = [];

  constructor(socket: string, inFlight: number) {
    this.#client = new KmsClient(socket, 30_000);
    this.#inFlight = inFlight;
  }

  /** Makes ciphertexts for {@link decrypt}; distinct ones, as caches should not help more than in a cluster. */
  async prepare(ciphertexts: number): Promise<void> {
    const sealed: Sealed[] = [];
    await this.#run(
      () => sealed.length < ciphertexts,
      async () => {
        const plaintext = randomBytes(32);
        sealed.push({ ...(await this.#client.encrypt(plaintext, 'bench')), plaintext });
      },
    );
    this.#sealed = sealed;
  }

  /** @throws Error for a wrong answer: a figure of wrong answers is worth nothing */
  decrypt(goOn: (calls: number) => boolean): Promise<number> {
    return this.#run(goOn, async (call) => {
      const one = this.#sealed[call % this.#sealed.length]!;
      const plaintext = await this.#client.decrypt(one.ciphertext, one.keyId, 'bench');
      if (!plaintext.equals(one.plaintext)) throw new Error('a Decrypt gave a wrong plaintext');
    });
  }

  encrypt(goOn: (calls: number) => boolean): Promise<number> {
    const plaintext = randomBytes(32);
    return this.#run(goOn, async () => void (await this.#client.encrypt(plaintext, 'bench')));
  }

  close(): void {
    this.#client.close();
  }

  /** Returns how many calls there were. */
  async #run(goOn: (calls: number) => boolean, call: (number: number) => Promise<void>): Promise<number> {
    let calls = 0;
    const worker = async (): Promise<void> => {
      while (goOn(calls)) await call(calls++);
    };
    await Promise.all(Array.from({ length: this.#inFlight }, worker));
    return calls;
  }
}
