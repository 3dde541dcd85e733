import { GrpcJsTransport } from './grpc-js/transport.ts';
import type { TransportFactory } from './seam.ts';

/** The transports that a configuration can choose, by name. */
export const transports = {
  'grpc-js': (routes) => new GrpcJsTransport(routes),
} satisfies Record<string, TransportFactory>;

export type TransportName = keyof typeof transports;
