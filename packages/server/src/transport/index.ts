import type { Clock } from '@teapot-kms/core';
import { GrpcJsTransport } from './grpc-js/transport.ts';
import { H2Transport } from './h2/transport.ts';
import type { Routes, TransportFactory } from './seam.ts';

/** The transports that a configuration can name. */
export const transports = {
  'grpc-js': (routes: Routes, clock?: Clock) => new GrpcJsTransport(routes, clock),
  h2: (routes: Routes, clock?: Clock) => new H2Transport(routes, clock),
} satisfies Record<string, TransportFactory>;

export type TransportName = keyof typeof transports;
