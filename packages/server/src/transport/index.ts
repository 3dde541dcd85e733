import type { Clock } from '@teapot-kms/core';
import { GrpcJsTransport } from './grpc-js/transport.ts';
import type { Routes, TransportFactory } from './seam.ts';

/** The transports that a configuration can name. */
export const transports = {
  'grpc-js': (routes: Routes, clock?: Clock) => new GrpcJsTransport(routes, clock),
} satisfies Record<string, TransportFactory>;

export type TransportName = keyof typeof transports;
