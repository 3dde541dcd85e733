import type { SecureContext, SecureContextOptions } from 'node:tls';

let authorities: readonly string[] | undefined;
let context: SecureContext | undefined;

/**
 * TLS options for a server whose authority nobody has named: those of Node and of this host, as Go has them. They are read once, at the first
 * use, which takes some tens of ms; so a changed store of the host needs a restart.
 * @param own - with a client certificate of our own
 */
export function systemAuthorities(
  own: Pick<SecureContextOptions, 'cert' | 'key'>,
): SecureContextOptions | { secureContext: SecureContext } {
  // An import of it would load undici too (ADR 0015).
  const { createSecureContext, getCACertificates, rootCertificates } = process.getBuiltinModule('node:tls');
  authorities ??= [...new Set([...rootCertificates, ...getCACertificates('system')])];
  if (own.cert !== undefined) return { ...own, ca: [...authorities] };
  context ??= createSecureContext({ ca: [...authorities] });
  return { secureContext: context };
}
