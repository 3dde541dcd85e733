import type { Clock } from '@teapot-kms/core';

/** An announcement counts for this long, in ms. kube-apiserver sends the Encrypt at once, with 3 s as its deadline. */
const RECENT_MS = 3_000;

/**
 * The key_id that Status announced last on each connection. kube-apiserver calls Status, then Encrypt, and discards the answer when
 * the key_ids differ. So a key switch between the two calls must not show (design D1).
 */
export class Announcements {
  readonly #byConnection = new WeakMap<object, { keyId: string; at: number }>();
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  announced(connection: object, keyId: string): void {
    this.#byConnection.set(connection, { keyId, at: this.#clock.now() });
  }

  recent(connection: object): string | undefined {
    const announced = this.#byConnection.get(connection);
    return announced && this.#clock.now() - announced.at < RECENT_MS ? announced.keyId : undefined;
  }
}
