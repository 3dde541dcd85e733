import type { ResourceEvent, ServiceEvent } from '@teapot-kms/core';
import { pino } from 'pino';
import type { Logger } from 'pino';
import { keyIdHash } from '../kms/key-id-hash.ts';

type LoggedEvent = Exclude<ServiceEvent, { type: 'store-operation' }>;
export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** JSON lines on stderr, written at once: what is logged before a crash is there after it. */
export function createLogger(level: LogLevel): Logger {
  const base = { pid: process.pid };
  const formatters = { level: (label: string) => ({ level: label }) };
  return pino(
    { level, base, formatters, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ fd: 2, sync: true }),
  );
}

/** An error as it is logged: name, code, message and remedy of it and of its causes. Nothing else, as other fields could hold secrets. */
export function describeError(error: unknown, depth = 3): object {
  if (!(error instanceof Error)) return { message: 'not an Error' };
  const { name, message, cause } = error;
  const { code, remedy } = error as { code?: unknown; remedy?: unknown };
  return {
    name,
    ...(typeof code === 'string' && { code }),
    message,
    ...(typeof remedy === 'string' && { remedy }),
    ...(cause !== undefined && depth > 0 && { cause: describeError(cause, depth - 1) }),
  };
}

/** What an operator should read; store operations are for the metrics. */
export function logEvent(log: Logger, event: LoggedEvent): void {
  if (event.type === 'key-switched') {
    const { from, to } = event;
    const text = from === undefined ? 'key loaded' : 'key switched: kube-apiserver follows within a minute';
    log.info({ from, to, keyIdHash: keyIdHash(to) }, text);
  } else if (event.type === 'store-ok') {
    log.info('the key store answers');
  } else if (event.type === 'store-failed') {
    const consequence = event.keyLoaded
      ? 'the key store failed; keys in memory stay in use'
      : `No key is loaded: ${event.error.message}. All calls are refused.`;
    log.error({ error: describeError(event.error) }, consequence);
  } else {
    log.warn(
      { keyId: event.keyId, keyIdHash: keyIdHash(event.keyId) },
      'Decrypt asks for a key that is not in the keyset',
    );
  }
}

/** What happens to things that instances share. */
export function logResourceEvent(log: Logger, event: ResourceEvent): void {
  if (event.type === 'token-host-started') {
    log.info({ module: event.module, hostPid: event.pid }, 'the token host runs');
  } else {
    const { module, reason, restartInMs } = event;
    log.error({ module, reason, restartInMs }, 'the token host ended; it is started again when it is needed');
  }
}
