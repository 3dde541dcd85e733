/** The ways to wrap a local KEK, best first (ADR 0007). */
export const mechanismNames = [
  'aes-gcm',
  'aes-key-wrap-pad',
  'aes-key-wrap',
  'rsa-oaep-sha256',
  'rsa-oaep-sha1',
] as const;

export type MechanismName = (typeof mechanismNames)[number];

/** In direct mode each Encrypt is a wrap, and AES-GCM with random IVs limits the number of wraps. */
const directNames: readonly MechanismName[] = [
  'aes-key-wrap-pad',
  'aes-key-wrap',
  'aes-gcm',
  'rsa-oaep-sha256',
  'rsa-oaep-sha1',
];

/** Returns the mechanisms that a setting allows, best first. */
export function allowedMechanisms(setting: MechanismName | 'auto', direct: boolean): readonly MechanismName[] {
  if (setting !== 'auto') return [setting];
  return direct ? directNames : mechanismNames;
}

/** The first byte of a wrapped local KEK. Written to etcd: never changed, never given twice. */
const codes: Readonly<Record<MechanismName, number>> = {
  'aes-gcm': 1,
  'aes-key-wrap-pad': 2,
  'aes-key-wrap': 3,
  'rsa-oaep-sha256': 4,
  'rsa-oaep-sha1': 5,
};

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
