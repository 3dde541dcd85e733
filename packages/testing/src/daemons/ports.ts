import { createServer } from 'node:net';

/** Below Linux's ephemeral range, where a connection of some other process could take the port while ours restarts. */
const LOWEST = 20_000;
const HIGHEST = 32_000;

/** A loopback port on which no process listens. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = LOWEST + Math.floor(Math.random() * (HIGHEST - LOWEST));
    if (await isFree(port)) return port;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
