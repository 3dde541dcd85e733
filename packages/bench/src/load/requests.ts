import { Client, credentials } from '@grpc/grpc-js';
import { messages } from '@teapot-kms/server';
import { randomBytes, randomUUID } from 'node:crypto';

/** The calls of a load, with their expected answers. */
export interface Requests {
  readonly method: string;
  readonly requests: readonly Buffer[];
  readonly answers?: readonly Buffer[];
}

/** Number of distinct ciphertexts in a load. A cache of answers would not help. */
const DISTINCT = 1_000;

/** Size of what kube-apiserver encrypts: a DEK seed (v2) or a DEK (v1). */
const PLAINTEXT_BYTES = 32;
/** Encrypts in flight while the requests are prepared. */
const IN_FLIGHT = 32;

const { v2, v1beta1 } = messages;
const V2 = '/v2.KeyManagementService';
const V1 = '/v1beta1.KeyManagementService';
const VERSION = 'v1beta1';

export function encryptRequests(count = DISTINCT): Requests {
  const requests = plaintexts(count).map((plaintext) => v2.EncryptRequest.encode({ plaintext, uid: randomUUID() }));
  return { method: `${V2}/Encrypt`, requests };
}

export function encryptV1Requests(count = DISTINCT): Requests {
  const requests = plaintexts(count).map((plain) => v1beta1.EncryptRequest.encode({ version: VERSION, plain }));
  return { method: `${V1}/Encrypt`, requests };
}

/** Prepares Decrypts of ciphertexts that the server itself made, so any server can answer them. */
export async function decryptRequests(socket: string, count = DISTINCT): Promise<Requests> {
  const texts = plaintexts(count);
  const requests = await callEach(socket, `${V2}/Encrypt`, texts, {
    request: (plaintext) => v2.EncryptRequest.encode({ plaintext, uid: randomUUID() }),
    answered: (answer) => {
      const { ciphertext, key_id, annotations } = v2.EncryptResponse.decode(answer);
      return v2.DecryptRequest.encode({ ciphertext, uid: randomUUID(), key_id, annotations });
    },
  });
  const answers = texts.map((plaintext) => v2.DecryptResponse.encode({ plaintext }));
  return { method: `${V2}/Decrypt`, requests, answers };
}

export async function decryptV1Requests(socket: string, count = DISTINCT): Promise<Requests> {
  const texts = plaintexts(count);
  const requests = await callEach(socket, `${V1}/Encrypt`, texts, {
    request: (plain) => v1beta1.EncryptRequest.encode({ version: VERSION, plain }),
    answered: (answer) =>
      v1beta1.DecryptRequest.encode({ version: VERSION, cipher: v1beta1.EncryptResponse.decode(answer).cipher }),
  });
  const answers = texts.map((plain) => v1beta1.DecryptResponse.encode({ plain }));
  return { method: `${V1}/Decrypt`, requests, answers };
}

function plaintexts(count: number): Buffer[] {
  return Array.from({ length: count }, () => randomBytes(PLAINTEXT_BYTES));
}

interface Exchange {
  readonly request: (plaintext: Buffer) => Buffer;
  /** Makes the request of the load from the server's answer. */
  readonly answered: (answer: Buffer) => Buffer;
}

async function callEach(
  socket: string,
  method: string,
  texts: readonly Buffer[],
  { request, answered }: Exchange,
): Promise<Buffer[]> {
  const client = new Client(`unix:${socket}`, credentials.createInsecure(), {
    'grpc.default_authority': 'localhost',
    'grpc.use_local_subchannel_pool': 1,
  });
  const identity = (bytes: Buffer): Buffer => bytes;
  const call = (message: Buffer): Promise<Buffer> =>
    new Promise((resolve, reject) => {
      client.makeUnaryRequest(method, identity, identity, message, (error, answer) => {
        if (error) reject(error);
        else resolve(answer!);
      });
    });
  const made: Buffer[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < texts.length) {
      const index = next++;
      made[index] = answered(await call(request(texts[index]!)));
    }
  };
  try {
    await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
  } finally {
    client.close();
  }
  return made;
}
