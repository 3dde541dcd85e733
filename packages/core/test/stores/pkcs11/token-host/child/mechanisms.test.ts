import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { mechanisms } from '../../../../../src/stores/pkcs11/token-host/child/mechanisms.ts';
import type { Key, Session } from '../../../../../src/stores/pkcs11/token-host/child/sessions.ts';

/** A session whose module only writes down the IVs of AES-GCM. */
function recording(): { session: Session; ivs: Set<string> } {
  const ivs = new Set<string>();
  const module = {
    C_EncryptInit: (_handle: unknown, { parameter }: { parameter: { iv: Buffer } }) => {
      ivs.add(parameter.iv.toString('hex'));
    },
    C_Encrypt: (_handle: unknown, _data: Buffer, out: Buffer) => out,
  };
  return { session: { module, handle: Buffer.alloc(8) } as unknown as Session, ivs };
}

const readCalls = (): number => Number(/^syscr: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8'))![1]);

test('each IV of AES-GCM is another one, and comes from the kernel by a read of its own', () => {
  const { session, ivs } = recording();
  const key = { handle: Buffer.alloc(8), keyClass: 'secret' } as unknown as Key;
  const wrap = () => mechanisms['aes-gcm'].wrap(session, key, Buffer.alloc(32), 'key-1');
  wrap();
  const before = readCalls();
  for (let i = 0; i < 1_000; i++) assert.is(wrap().length, 60);
  assert.ok(readCalls() - before >= 1_000, `${String(readCalls() - before)} reads`);
  assert.is(ivs.size, 1_001);
  for (const iv of ivs) assert.is(iv.length, 24);
});

test.run();
