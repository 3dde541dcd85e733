/**
 * The ways to wrap a local KEK, best first (ADR 0007), each with the first byte of what it wraps. That is written to etcd:
 * never changed, never given twice.
 */
const codes = {
  'aes-gcm': 1,
  'aes-key-wrap-pad': 2,
  'aes-key-wrap': 3,
  'rsa-oaep-sha256': 4,
  'rsa-oaep-sha1': 5,
} as const;

export type MechanismName = keyof typeof codes;

export const mechanismNames = Object.keys(codes) as readonly MechanismName[];

/** Returns the mechanisms that a setting allows, best first. */
export function allowedMechanisms(setting: MechanismName | 'auto', direct: boolean): readonly MechanismName[] {
  if (setting !== 'auto') return [setting];
  // In direct mode each Encrypt is a wrap, and AES-GCM with random IVs limits the number of wraps.
  const rank = (name: MechanismName) => (direct && name.startsWith('aes-key-wrap') ? 0 : 1);
  return mechanismNames.toSorted((a, b) => rank(a) - rank(b));
}

/** Returns what the envelope carries: the mechanism's code, then `blob`. */
export function wrappedForm(mechanism: MechanismName, blob: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(codes[mechanism]), blob]);
}

/** Undoes {@link wrappedForm}. Returns `undefined` for bytes that start with no code. */
export function parseWrappedForm(wrapped: Buffer): { mechanism: MechanismName; blob: Buffer } | undefined {
  const mechanism = mechanismNames.find((name) => codes[name] === wrapped[0]);
  return mechanism && { mechanism, blob: wrapped.subarray(1) };
}

export const isRsa = (mechanism: MechanismName): boolean => mechanism.startsWith('rsa-');
