// Copied into an empty directory, where the npm packages are installed, and run there. No part of the workspace is in reach.
import { CryptoEngine, EnvelopeKey, KmsError, newKeyId, SecretBytes } from '@teapot-kms/core';
import { version } from '@teapot-kms/server';

const id: string = newKeyId();
if (new KmsError('ERR_KMS_CLOSED', id).code !== 'ERR_KMS_CLOSED' || version === '') throw new Error('wrong');
// This also checks that the file of the worker threads is packed.
const engine = new CryptoEngine('pool', { inlineBytes: 0 });
const key = new EnvelopeKey({ key: new SecretBytes(Buffer.alloc(32)), keyId: id, contextId: Buffer.alloc(16) });
const { signal } = new AbortController();
await Promise.all([1, 2, 3, 4].map(async () => engine.seal(key, Buffer.alloc(32), { signal })));
await engine.close();
