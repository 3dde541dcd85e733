// Every file of vectors/envelope-v1, through the service that would get such a request.
import { rejectsWithCode } from '@teapot-kms/testing';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { isKeyId } from '../../src/envelope/key-id.ts';
import type { KmsErrorCode } from '../../src/errors.ts';
import { KmsError } from '../../src/errors.ts';
import { KeysetService } from '../../src/service/keyset-service.ts';
import { Keyset } from '../../src/keyset/keyset.ts';
import type { ManifestEntry } from '../../src/keyset/manifest.ts';
import { LocalKekService } from '../../src/service/local-kek/local-kek-service.ts';
import type { RemoteKek } from '../../src/service/local-kek/remote-kek.ts';
import { SecretBytes } from '../../src/util/secret-bytes.ts';
import type { KmsService } from '../../src/kms-service.ts';
import { patient } from '../support/context.ts';
import { figure } from '../support/figure.ts';

interface Vector {
  readonly name: string;
  readonly clause: string;
  readonly expect: string;
  readonly code?: KmsErrorCode;
  readonly contextId: string;
  readonly keys: Readonly<Record<string, string>>;
  readonly requestKeyId?: string;
  readonly unwrapped?: Readonly<Record<string, string | null>>;
  readonly ciphertext: string;
  readonly plaintextSha256?: string;
}

const directory = new URL('../vectors/envelope-v1/', import.meta.url);
const vectors = readdirSync(directory).map(
  (file) => [file, JSON.parse(readFileSync(new URL(file, directory), 'utf8')) as Vector] as const,
);

function keysetService({ contextId, keys }: Vector): KmsService {
  const time = '2026-01-01T00:00:00Z';
  const ids = Object.keys(keys).filter(isKeyId);
  const entries: ManifestEntry[] = ids.map((id) => ({ id, created: time, state: 'promoted', since: time }));
  const manifest = {
    formatVersion: 1,
    contextId,
    generation: 0,
    hash: '',
    primary: ids[0] ?? '',
    keys: entries,
  } as const;
  const load = () =>
    Keyset.load(patient, manifest, (id) => Promise.resolve(new SecretBytes(Buffer.from(keys[id]!, 'hex'))));
  return new KeysetService({ source: { uri: 'vector:', load, watch: () => () => undefined } });
}

function localKekService({ contextId, keys, unwrapped = {} }: Vector): KmsService {
  const versions = Object.keys(keys).map((id) => ({ id, state: 'promoted' as const }));
  const refused = new KmsError('ERR_KMS_UNWRAP_FAILED', 'the token refuses');
  const remote: RemoteKek = {
    uri: 'vector:',
    describe: () =>
      Promise.resolve({ contextId: Buffer.from(contextId, 'hex'), primary: versions[0]!.id, keys: versions }),
    wrap: () => Promise.resolve(Buffer.alloc(60)),
    unwrap: (_keyId, wrapped) => {
      const key = unwrapped[wrapped.toString('hex')];
      return key ? Promise.resolve(new SecretBytes(Buffer.from(key, 'hex'))) : Promise.reject(refused);
    },
    close: () => Promise.resolve(),
  };
  return new LocalKekService({ remote });
}

for (const [file, vector] of vectors) {
  test(`${file} (${vector.clause}): ${vector.code ?? 'opens'}`, async () => {
    assert.is(`${vector.name}.json`, file);
    const service = vector.unwrapped ? localKekService(vector) : keysetService(vector);
    service.start();
    try {
      const request = { ciphertext: Buffer.from(vector.ciphertext, 'hex'), keyId: vector.requestKeyId };
      if (vector.code) await rejectsWithCode(() => service.decrypt(request, patient), vector.code);
      else {
        const plaintext = await service.decrypt(request, patient);
        assert.is(createHash('sha256').update(plaintext).digest('hex'), vector.plaintextSha256);
      }
    } finally {
      await service.close();
    }
  });
}

test('every step of spec §7.2 has a vector, and every kind of outcome', () => {
  const clauses = new Set(vectors.map(([, vector]) => vector.clause));
  for (let step = 1; step <= 11; step++) assert.ok(clauses.has(`7.2/${String(step)}`), `step ${String(step)}`);
  assert.is(new Set(vectors.map(([, vector]) => vector.expect)).size, 8);
  figure(`envelope vectors: ${String(vectors.length)}`);
});

test.run();
