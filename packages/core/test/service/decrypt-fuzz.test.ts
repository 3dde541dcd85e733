// Whole Decrypt calls on random and mutated inputs: an error with one of our codes, or the very plaintext that was sealed.
import { randomBytes, randomInt } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { KmsError } from '../../src/errors.ts';
import type { KmsService } from '../../src/kms-service.ts';
import { patient } from '../support/context.ts';
import { fuzz, fuzzRuns } from '../support/fuzz.ts';
import { rotate, startService } from '../support/keyset-service.ts';
import { startLocal } from '../support/local-kek-service.ts';

const REJECTS = new Set([
  'ERR_KMS_LIMIT_EXCEEDED',
  'ERR_KMS_ENVELOPE_MALFORMED',
  'ERR_KMS_ENVELOPE_VERSION',
  'ERR_KMS_KEY_ID_MISMATCH',
  'ERR_KMS_UNKNOWN_KEY',
  'ERR_KMS_UNWRAP_FAILED',
  'ERR_KMS_AUTHENTICATION_FAILED',
]);

interface Sample {
  readonly ciphertext: Buffer;
  readonly keyId: string;
}

/** One to three changes to a real envelope, each of a kind that has broken a plugin before. */
function mutate(envelope: Buffer, other: Buffer): Buffer {
  let bytes: Buffer = Buffer.from(envelope);
  for (let changes = randomInt(1, 4); changes > 0; changes--) {
    const at = bytes.length === 0 ? 0 : randomInt(bytes.length);
    switch (randomInt(7)) {
      case 0:
        if (bytes.length > 0) bytes[at]! ^= 1 << randomInt(8);
        break;
      case 1:
        bytes = bytes.subarray(0, at);
        break;
      case 2:
        bytes = Buffer.concat([bytes, randomBytes(randomInt(1, 40))]);
        break;
      case 3:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(Math.min(bytes.length, at + randomInt(1, 20)))]);
        break;
      case 4:
        bytes = Buffer.concat([bytes.subarray(0, at), other.subarray(at)]);
        break;
      case 5:
        // The fields that hold lengths, at their edges.
        if (bytes.length > 40) bytes[[4, 31, 32][randomInt(3)]!] = [0, 1, 2, 64, 65, 255][randomInt(6)]!;
        break;
      default:
        bytes.fill(randomInt(256), at, Math.min(bytes.length, at + randomInt(1, 16)));
    }
  }
  return bytes;
}

async function assertNeverWrong(name: string, service: KmsService, runs: number): Promise<void> {
  const seed = randomBytes(32);
  const samples: Sample[] = [];
  for (let i = 0; i < 8; i++) samples.push(await service.encrypt(seed, patient));
  const originals = new Set(samples.map(({ ciphertext }) => ciphertext.toString('latin1')));
  const [codes, opened] = [new Map<string, number>(), { times: 0 }];
  const { heapGrowthMb } = await fuzz(`decrypt, ${name}`, runs, async (run) => {
    const sample = samples[run % samples.length]!;
    const other = samples[(run + 1) % samples.length]!;
    const ciphertext = run % 5 === 0 ? randomBytes(randomInt(200)) : mutate(sample.ciphertext, other.ciphertext);
    const keyId = [undefined, sample.keyId, sample.keyId, '', 'other'][run % 5];
    try {
      const plaintext = await service.decrypt({ ciphertext, keyId }, patient);
      opened.times++;
      if (!plaintext.equals(seed) || !originals.has(ciphertext.toString('latin1'))) {
        throw new Error(`a wrong plaintext from ${ciphertext.toString('hex')}`);
      }
    } catch (error) {
      if (!(error instanceof KmsError) || !REJECTS.has(error.code)) throw error;
      codes.set(error.code, (codes.get(error.code) ?? 0) + 1);
    }
  });
  // A fuzzer that never gets past the first check shows nothing.
  assert.ok(codes.size >= 5, [...codes.keys()].join());
  assert.ok((codes.get('ERR_KMS_AUTHENTICATION_FAILED') ?? 0) > 0);
  assert.ok(heapGrowthMb < 30, `${heapGrowthMb.toFixed(1)} MB`);
  for (const sample of samples) assert.equal(await service.decrypt(sample, patient), seed);
}

test('with keys in memory no input gives a wrong plaintext or another error than ours', async () => {
  const started = await startService();
  await rotate(started);
  await assertNeverWrong('keyset', started.service, fuzzRuns(6_000));
  await started.service.close();
});

test('with a key in a token no input gives a wrong plaintext or another error than ours', async () => {
  const { service, remote } = await startLocal({ cacheEntries: 100 });
  // What the fake remembers of each unwrap is not the service’s memory.
  remote.givenOut.push = () => 0;
  await assertNeverWrong('token', service, fuzzRuns(3_000));
  await service.close();
});

test.run();
