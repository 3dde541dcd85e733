import type { Socket } from 'node:net';
import { urlToHttpOptions } from 'node:url';

/**
 * Connects to `server` through an HTTP proxy (CONNECT, RFC 9110 §9.3.6). The proxy sees no more than the address: TLS is
 * between us and the server.
 * @param ca - PEM of the authorities that an https proxy must be trusted by, as in client-go those of the cluster
 */
export function connectThrough(proxy: URL, server: URL, ca: Buffer | undefined, signal: AbortSignal): Promise<Socket> {
  // An `import` of it would load undici too, which takes 14 MiB.
  const { request } =
    proxy.protocol === 'https:' ? process.getBuiltinModule('node:https') : process.getBuiltinModule('node:http');
  const path = `${server.hostname}:${server.port || (server.protocol === 'https:' ? 443 : 80)}`;
  const { auth, ...options } = urlToHttpOptions(proxy);
  const login = auth ? { 'proxy-authorization': `Basic ${Buffer.from(auth).toString('base64')}` } : {};
  // Whatever NODE_TLS_REJECT_UNAUTHORIZED says.
  const tls = { ca, rejectUnauthorized: true };
  const headers = { host: path, ...login };
  return new Promise((resolve, reject) => {
    request({ ...options, ...tls, method: 'CONNECT', path, headers, agent: false, signal })
      .once('connect', ({ statusCode }, socket: Socket) => {
        if (statusCode === 200) return resolve(socket);
        socket.destroy();
        reject(new Error(`the proxy ${proxy.host} answers CONNECT with HTTP status ${statusCode}`));
      })
      .once('error', (error) => reject(signal.aborted ? (signal.reason as Error) : error))
      .end();
  });
}
