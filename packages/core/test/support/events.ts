import type { EventListener, ServiceEvent } from '../../src/kms-service.ts';

type News = Exclude<ServiceEvent, { type: 'store-operation' }>;

/** Collects what a service tells, but for each single operation of the store. */
export function collectEvents(): {
  readonly events: News[];
  readonly types: () => string[];
  readonly onEvent: EventListener;
} {
  const events: News[] = [];
  return {
    events,
    types: () => events.map((event) => event.type),
    onEvent: (event) => {
      if (event.type !== 'store-operation') events.push(event);
    },
  };
}
