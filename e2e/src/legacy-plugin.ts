import assert from 'node:assert/strict';
import { SocketListener, toHandler, transports, v1beta1Endpoints, v2Endpoints } from '@teapot-kms/server/internal';
import { legacyCiphertext } from '@teapot-kms/testing';
import type { KmsService } from '@teapot-kms/core';
import { createDecipheriv } from 'node:crypto';

/** Encrypts and decrypts as barbican-kms-plugin does, in the documented format. */
export async function startLegacyPlugin(path: string, keyId: string, key: Buffer): Promise<{ close(): Promise<void> }> {
  const service: KmsService = {
    encrypt: (plaintext) => ({ ciphertext: legacyCiphertext(key, Buffer.from(plaintext)), keyId }),
    // KMS v1's health check encrypts "ping" and wants it back.
    decrypt({ ciphertext }) {
      const decipher = createDecipheriv(`aes-${key.length * 8}-cbc`, key, ciphertext.subarray(0, 16));
      return Buffer.concat([decipher.update(ciphertext.subarray(16)), decipher.final()]);
    },
    holds: () => true,
    ready: () => undefined,
    status: () => ({ healthz: 'ok', keyId }),
    describe: () => ({
      uri: 'legacy:',
      primary: keyId,
      keyset: undefined,
      keys: [],
      lastGoodProbeAgeMs: 0,
      warnings: [],
      hints: [],
      counters: {},
    }),
    report: () => assert.fail('the legacy plugin makes no reports'),
    start: () => undefined,
    close: () => Promise.resolve(),
  };
  const observer = { began: () => undefined, ended: () => undefined };
  const endpoints = [...v2Endpoints(service, 'v2'), ...v1beta1Endpoints(service)];
  const routes = new Map(endpoints.map((endpoint) => [endpoint.path, toHandler(endpoint, observer)]));
  const transport = transports.h2(routes);
  const listener = await SocketListener.listen({
    path,
    mode: 0o600,
    gid: undefined,
    takeOver: false,
    onConnection: (socket) => transport.accept(socket),
  });
  return {
    async close() {
      await listener.close();
      await transport.drain(100);
    },
  };
}
