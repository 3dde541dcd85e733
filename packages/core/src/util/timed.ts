import type { EventListener, ServiceEvent } from '../kms-service.ts';
import type { Clock } from './clock.ts';

type Operation = Extract<ServiceEvent, { type: 'store-operation' }>['operation'];

/** Runs one operation of a key store and reports how long it took and whether it succeeded. */
export async function timed<T>(
  clock: Clock,
  operation: Operation,
  run: () => Promise<T>,
  onEvent: EventListener,
): Promise<T> {
  const started = clock.now();
  let ok = false;
  try {
    const result = await run();
    ok = true;
    return result;
  } finally {
    onEvent({ type: 'store-operation', operation, durationMs: clock.now() - started, ok });
  }
}
