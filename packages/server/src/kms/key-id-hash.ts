import { createHash } from 'node:crypto';

/** The form in which kube-apiserver shows a key_id in its metrics and messages, so that the two can be joined. */
export function keyIdHash(keyId: string): string {
  return `sha256:${createHash('sha256').update(keyId).digest('hex')}`;
}
