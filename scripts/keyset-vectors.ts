/** Defines the vectors of the keyset format (`docs/spec/keyset-v2.md` §9) that `make-vectors.ts` writes. */
import { SecretBytes } from '@teapot-kms/core';
import { formatManifest, KeyProof, makeReport, parseManifest, relationOf } from '@teapot-kms/core/internal';
import type { Manifest } from '@teapot-kms/core';

const KEY = Buffer.alloc(32, 0x11);
const OTHER_KEY = Buffer.from(Array.from({ length: 32 }, (_, index) => index));
const CONTEXT = Buffer.from('000102030405060708090a0b0c0d0e0f', 'hex');
const OTHER_CONTEXT = Buffer.alloc(16, 0xff);
const TIME = '2026-01-02T03:04:05.000Z';

const proof = (key: Buffer, context: Buffer, id: string) =>
  new KeyProof(new SecretBytes(Buffer.from(key)), context, id);

function checkValues() {
  const cases: [key: Buffer, context: Buffer, id: string][] = [
    [KEY, CONTEXT, 'one'],
    [OTHER_KEY, CONTEXT, 'one'],
    [KEY, OTHER_CONTEXT, 'one'],
    [KEY, CONTEXT, 'two'],
    [KEY, CONTEXT, 'a'.repeat(64)],
  ];
  return cases.map(([key, context, keyId]) => ({
    key: key.toString('hex'),
    contextId: context.toString('hex'),
    keyId,
    check: proof(key, context, keyId).check,
  }));
}

/** A manifest of version 2 with one key, and what `change` makes of it. */
function version2(change: Partial<Manifest> = {}): Manifest {
  const contextId = CONTEXT.toString('hex');
  const { check } = proof(KEY, CONTEXT, 'one');
  const keys = [{ id: 'one', created: TIME, state: 'promoted', since: TIME, check } as const];
  return { formatVersion: 2, contextId, generation: 1, primary: 'one', keys, ...change };
}

function version1(since = TIME): Manifest {
  const keys = [{ id: 'one', created: TIME, state: 'promoted', since } as const];
  return { formatVersion: 1, contextId: CONTEXT.toString('hex'), generation: 0, primary: 'one', keys };
}

const hashOf = (manifest: Manifest): string => parseManifest(formatManifest(manifest), 'a vector').hash;

function succession() {
  const first = version2();
  const second = version2({ generation: 2, replaces: hashOf(first) });
  const fork = version2({ generation: 2, replaces: hashOf(first), rotation: { step: 'fork' } });
  const stray = version2({ generation: 2, replaces: '00'.repeat(32) });
  const later = version2({ generation: 9, replaces: '00'.repeat(32) });
  const foreign = version2({ contextId: OTHER_CONTEXT.toString('hex') });
  const converted = version2({ generation: 1, replaces: hashOf(version1()) });
  const pairs: [name: string, known: Manifest, offered: Manifest][] = [
    ['the same bytes', first, first],
    ['the next generation', first, second],
    ['the next generation of another manifest', first, stray],
    ['a generation that skips some', first, later],
    ['the same generation, other bytes', second, fork],
    ['an earlier generation', second, first],
    ['another context id', first, foreign],
    ['version 1, changed later', version1(), version1('2026-02-01T00:00:00.000Z')],
    ['version 1, changed earlier', version1('2026-02-01T00:00:00.000Z'), version1()],
    ['converted from this version 1', version1(), converted],
    ['converted from another version 1', version1('2026-02-01T00:00:00.000Z'), converted],
    ['version 1 after version 2', first, version1()],
  ];
  return pairs.map(([name, known, offered]) => {
    const [before, after] = [formatManifest(known), formatManifest(offered)];
    return {
      name,
      known: before,
      offered: after,
      relation: relationOf(parseManifest(after, 'x'), parseManifest(before, 'x')),
    };
  });
}

function reports() {
  const body = {
    replica: '0011223344556677',
    host: 'node-1',
    time: TIME,
    nonce: 'ab'.repeat(16),
    contextId: CONTEXT.toString('hex'),
    generation: 3,
    hash: 'cd'.repeat(32),
    reads: [1, 2],
  };
  const good = makeReport(
    body,
    new Map([
      ['one', proof(KEY, CONTEXT, 'one')],
      ['two', proof(OTHER_KEY, CONTEXT, 'two')],
    ]),
  );
  const vector = (name: string, report: object, keyId: string, key: Buffer, proves: boolean) => ({
    name,
    report,
    keyId,
    key: key.toString('hex'),
    proves,
  });
  return [
    vector('the first key', good, 'one', KEY, true),
    vector('the second key', good, 'two', OTHER_KEY, true),
    vector('another key', good, 'one', OTHER_KEY, false),
    vector('a key that is not listed', good, 'three', KEY, false),
    vector('another host', { ...good, host: 'node-2' }, 'one', KEY, false),
    vector('another nonce', { ...good, nonce: '00'.repeat(16) }, 'one', KEY, false),
    vector('another list of keys', { ...good, keys: good.keys.slice(0, 1) }, 'one', KEY, false),
  ];
}

/** The files by name, relative to the directory of the vectors. */
export function keysetVectors(): Record<string, object> {
  return {
    'keyset-v2/check-values.json': checkValues(),
    'keyset-v2/succession.json': succession(),
    'keyset-v2/reports.json': reports(),
  };
}
