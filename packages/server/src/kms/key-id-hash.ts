import { createHash } from 'node:crypto';

/** Hashes a key_id as kube-apiserver does for its metrics and messages, so that both can be compared. */
export function keyIdHash(keyId: string): string {
  return `sha256:${createHash('sha256').update(keyId).digest('hex')}`;
}
