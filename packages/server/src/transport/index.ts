import { H2Transport } from './h2/transport.ts';
import { LazyTransport } from './lazy.ts';
import type { Routes, TransportFactory, TransportOptions } from './seam.ts';

/** The transports that a configuration can name. */
export const transports = {
  // The library takes a third of the start, and few instances name it.
  'grpc-js': (routes: Routes, options?: TransportOptions) =>
    new LazyTransport(
      import('./grpc-js/transport.ts').then(({ GrpcJsTransport }) => new GrpcJsTransport(routes, options)),
    ),
  h2: (routes: Routes, options?: TransportOptions) => new H2Transport(routes, options),
} satisfies Record<string, TransportFactory>;

export type TransportName = keyof typeof transports;
