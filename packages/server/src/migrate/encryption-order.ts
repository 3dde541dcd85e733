import { createHash } from 'node:crypto';
import {
  entryOf,
  withIdentity,
  withoutOthers,
  withoutProvider,
  withProvider,
} from '../kubernetes/encryption-providers.ts';
import type { KmsProvider } from '../kubernetes/encryption-providers.ts';

/** Where data is to be: under the key of the plugin, or in plain text. */
export const TARGETS = ['teapot', 'identity'] as const;
export type Target = (typeof TARGETS)[number];

/** How an EncryptionConfiguration stands to a target. */
export interface EncryptionOrder {
  /** As kube-apiserver's metrics name the file. */
  readonly hash: string;
  /** Whether data is written to the target. */
  readonly writes: boolean;
  /** What is encrypted: `secrets`, `*.*`. */
  readonly resources: readonly string[];
  /** The next configuration, and what it does. `undefined`: this one is the last. */
  readonly next: { readonly change: string; readonly text: string } | undefined;
}

/**
 * The order that keeps every kube-apiserver able to read what another one writes: a provider is added as a reader, then it writes, and the others go
 * when no data needs them.
 * @param text - of the EncryptionConfiguration that is in use
 * @param where - its file, for errors
 * @param resources - what to encrypt, where the plugin is not among the providers yet
 * @throws {@link KmsError} `ERR_KMS_INVALID_REQUEST`. It shows no value
 */
export function encryptionOrder(
  text: string,
  where: string,
  { target, provider, resources }: { target: Target; provider: KmsProvider; resources: readonly string[] },
): EncryptionOrder {
  const { name } = provider;
  const entry = entryOf(text, where, name);
  const first = entry?.providers[0];
  const about = {
    hash: `sha256:${createHash('sha256').update(text).digest('hex')}`,
    resources: entry?.resources ?? resources,
  };
  const changed = (change: string, next: string): Pick<EncryptionOrder, 'next'> => ({
    next: next === text ? undefined : { change, text: next },
  });
  if (target === 'teapot') {
    const position = entry ? 'writes' : 'reads';
    if (first !== name) {
      const change = entry
        ? `${name} encrypts, and the others only decrypt`
        : `${name} can decrypt, and does not encrypt yet`;
      return { ...about, writes: false, ...changed(change, withProvider(text, where, provider, resources, position)) };
    }
    const change = `only ${name} is left, and plain text can be read`;
    return { ...about, writes: true, ...changed(change, withoutOthers(text, where, name)) };
  }
  if (!entry) return { ...about, writes: true, next: undefined };
  const { providers } = entry;
  if (first === 'identity') {
    return { ...about, writes: true, ...changed(`${name} is gone`, withoutProvider(text, where, name)) };
  }
  const position = providers.includes('identity') ? 'writes' : 'reads';
  const change = position === 'writes' ? 'data is written in plain text' : 'plain text can be read';
  return { ...about, writes: false, ...changed(change, withIdentity(text, where, name, position)) };
}
