import { Client, credentials } from '@grpc/grpc-js';
import { systemClock } from '@teapot-kms/core';
import type { EncryptResult } from '@teapot-kms/core';
import { inspection, v1beta1, v2 } from '../kms/messages.ts';

const identity = (bytes: Buffer): Buffer => bytes;

/** Default `timeout` of a provider in kube-apiserver, in ms. */
const DEFAULT_TIMEOUT_MS = 3_000;

/** Calls a plugin as kube-apiserver does: over one connection, with a deadline for each call. */
export class KmsClient {
  readonly #client: Client;
  readonly #timeoutMs: number;

  constructor(socketPath: string, timeoutMs = DEFAULT_TIMEOUT_MS) {
    this.#client = new Client(`unix:${socketPath}`, credentials.createInsecure(), {
      // As in kube-apiserver ≥ 1.32. Node's HTTP/2 refuses a path as the authority.
      'grpc.default_authority': 'localhost',
      // Without this, all clients of a path share one connection.
      'grpc.use_local_subchannel_pool': 1,
    });
    this.#timeoutMs = timeoutMs;
  }

  async status(): Promise<{ version: string; healthz: string; keyId: string }> {
    const answer = await this.#call('/v2.KeyManagementService/Status', v2.StatusRequest.encode({}));
    const { version, healthz, key_id: keyId } = v2.StatusResponse.decode(answer);
    return { version, healthz, keyId };
  }

  /** @param uid - names this call in the logs of both sides */
  async encrypt(plaintext: Buffer, uid: string): Promise<EncryptResult> {
    const answer = await this.#call('/v2.KeyManagementService/Encrypt', v2.EncryptRequest.encode({ plaintext, uid }));
    const { ciphertext, key_id: keyId } = v2.EncryptResponse.decode(answer);
    return { ciphertext, keyId };
  }

  async decrypt(ciphertext: Buffer, keyId: string, uid: string): Promise<Buffer> {
    const request = v2.DecryptRequest.encode({ ciphertext, key_id: keyId, uid });
    return v2.DecryptResponse.decode(await this.#call('/v2.KeyManagementService/Decrypt', request)).plaintext;
  }

  async versionV1(): Promise<string> {
    const request = v1beta1.VersionRequest.encode({ version: 'v1beta1' });
    return v1beta1.VersionResponse.decode(await this.#call('/v1beta1.KeyManagementService/Version', request)).version;
  }

  async encryptV1(plain: Buffer): Promise<Buffer> {
    const request = v1beta1.EncryptRequest.encode({ version: 'v1beta1', plain });
    return v1beta1.EncryptResponse.decode(await this.#call('/v1beta1.KeyManagementService/Encrypt', request)).cipher;
  }

  async decryptV1(cipher: Buffer): Promise<Buffer> {
    const request = v1beta1.DecryptRequest.encode({ version: 'v1beta1', cipher });
    return v1beta1.DecryptResponse.decode(await this.#call('/v1beta1.KeyManagementService/Decrypt', request)).plain;
  }

  /** Returns the state of the instance. Other plugins do not have this call. */
  async describe(): Promise<Record<string, unknown>> {
    const answer = await this.#call('/teapotkms.v1.Inspection/Describe', inspection.DescribeRequest.encode({}));
    return JSON.parse(inspection.DescribeResponse.decode(answer).json) as Record<string, unknown>;
  }

  /** Returns what the instance proves of its keys. @param nonce - 32 hexadecimal digits */
  async report(nonce: string): Promise<string> {
    const answer = await this.#call('/teapotkms.v1.Inspection/Report', inspection.ReportRequest.encode({ nonce }));
    return inspection.ReportResponse.decode(answer).json;
  }

  close(): void {
    this.#client.close();
  }

  #call(path: string, request: Buffer): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const options = { deadline: systemClock.wall() + this.#timeoutMs };
      this.#client.makeUnaryRequest(path, identity, identity, request, options, (error, answer) => {
        if (error) reject(error);
        else resolve(answer ?? Buffer.alloc(0));
      });
    });
  }
}
