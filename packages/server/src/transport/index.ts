import type { Clock } from '@teapot-kms/core';
import { H2Transport } from './h2/transport.ts';
import { LazyTransport } from './lazy.ts';
import type { Routes, TransportFactory } from './seam.ts';

/** The transports that a configuration can name. */
export const transports = {
  // The library takes a third of the start, and few instances name it.
  'grpc-js': (routes: Routes, clock?: Clock) =>
    new LazyTransport(
      import('./grpc-js/transport.ts').then(({ GrpcJsTransport }) => new GrpcJsTransport(routes, clock)),
    ),
  h2: (routes: Routes, clock?: Clock) => new H2Transport(routes, clock),
} satisfies Record<string, TransportFactory>;

export type TransportName = keyof typeof transports;
