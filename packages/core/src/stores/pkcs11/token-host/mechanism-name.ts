/** The ways to wrap a local KEK, in the order in which they are preferred (ADR 0007). */
export const mechanismNames = [
  'aes-gcm',
  'aes-key-wrap-pad',
  'aes-key-wrap',
  'rsa-oaep-sha256',
  'rsa-oaep-sha1',
] as const;

export type MechanismName = (typeof mechanismNames)[number];

/** The first byte of a wrapped local KEK. Written to etcd: never changed, never given twice. */
const codes: Readonly<Record<MechanismName, number>> = {
  'aes-gcm': 1,
  'aes-key-wrap-pad': 2,
  'aes-key-wrap': 3,
  'rsa-oaep-sha256': 4,
  'rsa-oaep-sha1': 5,
};

/** `blob` with the mechanism's code before it: what the envelope carries. */
export function wrappedForm(mechanism: MechanismName, blob: Buffer): Buffer {
  return Buffer.concat([Buffer.of(codes[mechanism]), blob]);
}

/** Undoes {@link wrappedForm}; `undefined` for what no mechanism of ours has made. */
export function parseWrappedForm(wrapped: Buffer): { mechanism: MechanismName; blob: Buffer } | undefined {
  const mechanism = mechanismNames.find((name) => codes[name] === wrapped[0]);
  return mechanism && { mechanism, blob: wrapped.subarray(1) };
}

export const isRsa = (mechanism: MechanismName): boolean => mechanism.startsWith('rsa-');
