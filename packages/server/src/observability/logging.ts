import { safeLines, safeText } from '@teapot-kms/core';
import type { ResourceEvent, ServiceEvent } from '@teapot-kms/core';
import { pino } from 'pino';
import type { Logger } from 'pino';
import { keyIdHash } from '../kms/key-id-hash.ts';
import { LogOutput, stderrWriter } from './log-output.ts';
import { readableLine } from './readable-line.ts';

type LoggedEvent = Exclude<ServiceEvent, { type: 'store-operation' }>;
export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** Longest text of an error in a log line, in characters. */
const MAX_ERROR_TEXT = 2_000;

/** Writes JSON lines, or lines for people. A line is with the kernel when the call returns, or waits in the output while the log cannot be written. */
export function createLogger(level: LogLevel, output = new LogOutput(stderrWriter()), readable = false): Logger {
  const base = { pid: process.pid };
  const formatters = { level: (label: string) => ({ level: label }) };
  const destination = readable ? { write: (line: string) => output.write(readableLine(line)) } : output;
  const log = pino({ level, base, formatters, timestamp: pino.stdTimeFunctions.isoTime }, destination);
  output.onDropped = (lines) => log.warn({ lines }, 'the log could not be written; these lines were dropped');
  return log;
}

/** Returns the fields of an error, and of its causes, that a log may contain. Other fields could hold secrets. */
export function describeError(error: unknown, depth = 3): object {
  if (!(error instanceof Error)) return { message: 'not an Error' };
  const { name, message, cause } = error;
  const { code, remedy } = error as { code?: unknown; remedy?: unknown };
  return {
    name,
    ...(typeof code === 'string' && { code }),
    message: safeLines(message, MAX_ERROR_TEXT),
    ...(typeof remedy === 'string' && { remedy: safeText(remedy, MAX_ERROR_TEXT) }),
    ...(cause !== undefined && depth > 0 && { cause: describeError(cause, depth - 1) }),
  };
}

/** Logs an event of an instance. Store operations are counted in metrics instead. */
export function logEvent(log: Logger, event: LoggedEvent): void {
  if (event.type === 'key-switched') {
    const { from, to } = event;
    const text = from === undefined ? 'key loaded' : 'key switched; kube-apiserver follows within a minute';
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
      'Decrypt names a key that is not in the keyset',
    );
  }
}

/** Logs an event of a resource that instances share. */
export function logResourceEvent(log: Logger, event: ResourceEvent): void {
  if (event.type === 'token-host-started') {
    log.info({ module: event.module, hostPid: event.pid }, 'the token host runs');
  } else if (event.type === 'token-host-one-thread') {
    const remedy = 'set sessions: 1';
    const text = 'each thread of this PKCS#11 module would need a login of its own, so it gets one thread';
    log.warn({ module: event.module, remedy }, text);
  } else if (event.type === 'secret-exposed') {
    log.warn({ remedy: event.remedy }, event.text);
  } else if (event.type === 'certificates-not-verified') {
    log.warn(
      { login: event.where },
      'certificates of OpenStack are not verified: whoever is in between reads the keys',
    );
  } else {
    const { module, reason, restartInMs } = event;
    log.error({ module, reason, restartInMs }, 'the token host ended; the next call starts it again');
  }
}
