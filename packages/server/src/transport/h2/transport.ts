import { sleep, systemClock } from '@teapot-kms/core';
import type { Clock } from '@teapot-kms/core';
import type { Socket } from 'node:net';
import { maxStreams } from '../seam.ts';
import type { Routes, Transport, TransportOptions } from '../seam.ts';
import { ByteBudget } from './byte-budget.ts';
import { Connection } from './connection.ts';
import type { ErrorCodeName } from './errors.ts';
import { MAX_INSTANCE_BYTES, MAX_PROCESS_BYTES, TICK_MS } from './limits.ts';
import { Share } from './share.ts';
import { Slab } from './slab.ts';

/** Output of all transports: a turn of the event loop serves one connection at a time. */
const slab = new Slab();

export const processBudget = new ByteBudget(MAX_PROCESS_BYTES);

/** A purpose-built HTTP/2 server for unary gRPC on Unix sockets (ADR 0020). */
export class H2Transport implements Transport {
  readonly #routes: Routes;
  readonly #clock: Clock;
  readonly #budget = new ByteBudget(MAX_INSTANCE_BYTES, processBudget);
  readonly #connections = new Set<Connection>();
  readonly #maxStreams: number;
  readonly #share: Share<Connection>;
  /** Connections that were ended for a violation, by error code. */
  readonly violations = new Map<ErrorCodeName, number>();
  #cancelTick: (() => void) | undefined;
  #drained = false;

  constructor(routes: Routes, { clock = systemClock, maxCalls }: TransportOptions = {}) {
    this.#routes = routes;
    this.#clock = clock;
    this.#maxStreams = maxStreams(maxCalls);
    this.#share = new Share(clock);
  }

  accept(socket: Socket): void {
    if (this.#drained) {
      socket.destroy();
      return;
    }
    const connection: Connection = new Connection({
      socket,
      routes: this.#routes,
      maxStreams: this.#maxStreams,
      slab,
      budget: this.#budget,
      now: () => this.#clock.now(),
      share: this.#share,
      onClosed: (error) => {
        this.#connections.delete(connection);
        this.#share.leave(connection);
        if (error) this.violations.set(error, (this.violations.get(error) ?? 0) + 1);
      },
    });
    this.#connections.add(connection);
    this.#cancelTick ??= this.#clock.after(TICK_MS, () => this.#tick());
  }

  async drain(graceMs: number): Promise<void> {
    const deadline = this.#clock.now() + graceMs;
    for (const connection of this.#connections) connection.drain(this.#clock.now());
    while (this.#connections.size > 0 && this.#clock.now() < deadline) {
      await sleep(this.#clock, TICK_MS);
    }
    this.#drained = true;
    for (const connection of this.#connections) connection.destroy();
    this.#cancelTick?.();
    this.#cancelTick = undefined;
  }

  #tick(): void {
    const now = this.#clock.now();
    for (const connection of this.#connections) connection.tick(now);
    this.#cancelTick = this.#connections.size > 0 ? this.#clock.after(TICK_MS, () => this.#tick()) : undefined;
  }
}
