import { isIP } from 'node:net';

/**
 * Whether the `Host` of a request (RFC 9110 §7.2) may come from a client that means this server. A page in a browser on this host can reach a
 * loopback port under a name of its own, which it makes resolve to 127.0.0.1 (DNS rebinding), and then reads the answers. Its `Host` is that
 * name. So only `localhost` and addresses are served; a page cannot have an address that is not its server's. A client without `Host`, of
 * HTTP/1.0, is no browser.
 *
 * @param configured - the address that the server listens on
 */
export function isOurHost(host: string | undefined, configured: string): boolean {
  if (host === undefined) return true;
  const name = host.replace(/:\d*$/, '').toLowerCase();
  const bare = name.replace(/^\[(.*)\]$/, '$1');
  return name === 'localhost' || bare === configured || isLoopback(bare);
}

const isLoopback = (address: string): boolean =>
  (isIP(address) === 4 && address.startsWith('127.')) || address === '::1';
