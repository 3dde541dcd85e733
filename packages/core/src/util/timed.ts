import type { EventListener, ServiceEvent } from '../kms-service.ts';

type Operation = Extract<ServiceEvent, { type: 'store-operation' }>['operation'];

/** Runs an operation of a key store and tells how long it took and whether it went well. */
export async function timed<T>(operation: Operation, run: () => Promise<T>, onEvent: EventListener): Promise<T> {
  const started = performance.now();
  const told = (ok: boolean) =>
    onEvent({ type: 'store-operation', operation, durationMs: performance.now() - started, ok });
  try {
    const result = await run();
    told(true);
    return result;
  } catch (error) {
    told(false);
    throw error;
  }
}
