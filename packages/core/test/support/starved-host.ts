// Asks a token host while this process has no free file descriptor.
import { closeSync, openSync } from 'node:fs';
import type { TokenFailure } from '../../src/stores/pkcs11/token-host/protocol.ts';
import { TokenHost } from '../../src/stores/pkcs11/token-host/token-host.ts';
import { systemClock } from '../../src/util/clock.ts';

const host = new TokenHost({
  modulePath: '/no/such/module.so',
  sessions: 1,
  callTimeoutMs: 1_000,
  clock: systemClock,
});
const ask = async (): Promise<string> => {
  try {
    await host.call({ op: 'token', token: {} }, { owner: host, signal: AbortSignal.timeout(10_000) });
    return 'answered';
  } catch (error) {
    return `${(error as TokenFailure).kind}: ${(error as Error).message}`;
  }
};

const taken: number[] = [];
try {
  for (;;) taken.push(openSync('/dev/null', 'r'));
} catch {
  // That was the last one.
}
const starved = await ask();
for (const descriptor of taken) closeSync(descriptor);
console.log(JSON.stringify({ starved, starts: host.counters.token_host_starts }));
await host.close();
