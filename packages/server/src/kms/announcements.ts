/** ms in which the Encrypt after a Status must come: kube-apiserver sends it at once, with 3 s as its own deadline. */
const RECENT_MS = 3_000;

/**
 * Which key_id was announced last on each connection. kube-apiserver asks Status, then Encrypt, and throws the answer
 * away when the two differ; so a switch between the two must not show (design D1).
 */
export class Announcements {
  readonly #byConnection = new WeakMap<object, { keyId: string; at: number }>();

  announced(connection: object, keyId: string): void {
    this.#byConnection.set(connection, { keyId, at: performance.now() });
  }

  recent(connection: object): string | undefined {
    const announced = this.#byConnection.get(connection);
    return announced && performance.now() - announced.at < RECENT_MS ? announced.keyId : undefined;
  }
}
