// What earlier versions wrote opens for ever. See README.md: these files are never made again.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { KmsError } from '../../src/errors.ts';
import { KeysetService } from '../../src/service/keyset-service.ts';
import { LocalKekService } from '../../src/service/local-kek/local-kek-service.ts';
import type { RemoteKek } from '../../src/service/local-kek/remote-kek.ts';
import { openKeysetDirectory } from '../../src/stores/file/index.ts';
import { SecretBytes } from '../../src/util/secret-bytes.ts';
import type { KmsService } from '../../src/kms-service.ts';
import { patient } from '../support/context.ts';

interface Golden {
  readonly writtenBy: string;
  readonly envelopes: readonly Record<'name' | 'keyId' | 'plaintext' | 'ciphertext', string>[];
}

interface GoldenKeyset extends Golden {
  readonly manifest: string;
  readonly keys: Readonly<Record<string, string>>;
}

interface GoldenLocalKek extends Golden {
  readonly contextId: string;
  readonly primary: string;
  readonly unwrapped: Readonly<Record<string, string>>;
}

const read = (file: string): unknown => JSON.parse(readFileSync(new URL(file, import.meta.url), 'utf8'));
const files = readdirSync(new URL('.', import.meta.url)).filter((name) => name.endsWith('.json'));

function localKekService({ contextId, primary, unwrapped }: GoldenLocalKek): KmsService {
  const remote: RemoteKek = {
    uri: 'golden:',
    describe: () =>
      Promise.resolve({
        contextId: Buffer.from(contextId, 'hex'),
        primary,
        keys: [{ id: primary, state: 'promoted' }],
      }),
    wrap: () => Promise.resolve(Buffer.alloc(60)),
    unwrap: (_keyId, wrapped) => {
      const key = unwrapped[wrapped.toString('hex')];
      if (key) return Promise.resolve(new SecretBytes(Buffer.from(key, 'hex')));
      return Promise.reject(new KmsError('ERR_KMS_UNWRAP_FAILED', 'not wrapped by this token'));
    },
    close: () => Promise.resolve(),
  };
  return new LocalKekService({ remote });
}

async function assertOpensAll(service: KmsService, { envelopes }: Golden): Promise<void> {
  service.start();
  for (const { name, keyId, plaintext, ciphertext } of envelopes) {
    for (const asked of [keyId, undefined]) {
      const opened = await service.decrypt({ ciphertext: Buffer.from(ciphertext, 'hex'), keyId: asked }, patient);
      assert.is(opened.toString('hex'), plaintext, name);
    }
  }
  await service.close();
}

for (const file of files.filter((name) => name.startsWith('keyset-'))) {
  test(`${file}: the keyset directory loads and opens everything`, async () => {
    const golden = read(file) as GoldenKeyset;
    const directory = mkdtempSync(join(tmpdir(), 'teapot-golden-'));
    try {
      writeFileSync(join(directory, 'keyset.yaml'), golden.manifest);
      for (const [id, key] of Object.entries(golden.keys)) {
        writeFileSync(join(directory, `${id}.key`), Buffer.from(key, 'hex'), { mode: 0o600 });
      }
      const source = openKeysetDirectory(`file:${directory}`, { allowGroupRead: false });
      await assertOpensAll(new KeysetService({ source }), golden);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
}

for (const file of files.filter((name) => name.startsWith('local-kek-'))) {
  test(`${file}: everything sealed under a wrapped local KEK opens`, async () => {
    const golden = read(file) as GoldenLocalKek;
    await assertOpensAll(localKekService(golden), golden);
  });
}

test('nothing golden has gone', () => {
  const envelopes = files.reduce((sum, file) => sum + (read(file) as Golden).envelopes.length, 0);
  assert.ok(files.length >= 2 && envelopes >= 7);
});

test.run();
