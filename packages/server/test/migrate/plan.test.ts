import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { keyIdHash } from '../../src/kms/key-id-hash.ts';
import { planMigration } from '../../src/migrate/plan.ts';
import type { MigrationInput } from '../../src/migrate/plan.ts';
import type { StoredManifest } from '@teapot-kms/core';

const now = new Date('2026-01-02T00:00:00.000Z');
const replicas = { reports: [], replicas: 0, now };
const manifest = { contextId: 'c'.repeat(32), formatVersion: 2, generation: 1, primary: 'fresh', keys: [] };
const keyset = { manifest: manifest as unknown as StoredManifest, replicas };
const order = { hash: 'sha256:a', writes: true, resources: ['secrets'], next: undefined };
const server = { server: 's', keyIdHash: keyIdHash('fresh'), forMs: 200_000, since: 1, configHash: 'sha256:a' };
const SILENT = { server: 's', keyIdHash: keyIdHash('fresh'), forMs: 200_000, since: 1 };
const nothing = { objects: 0, resources: [], found: '', v1: false };
const done: MigrationInput = {
  order,
  file: '/etc/encryption.yaml',
  keyset,
  formers: [],
  servers: [server],
  loadedForMs: 180_000,
  loaded: false,
  left: nothing,
};

const states: [name: string, change: Partial<MigrationInput>, step: string, reason: RegExp][] = [
  ['everything is where it belongs', {}, 'done', /all data is where it belongs/],
  [
    'without a keyset nothing is written',
    { keyset: { ...keyset, manifest: undefined } },
    'wait-for-replicas',
    /no keyset/,
  ],
  [
    'a replica that has not reported',
    { keyset: { ...keyset, replicas: { ...replicas, replicas: 1 } } },
    'wait-for-replicas',
    /0 of 1 replicas/,
  ],
  ['no kube-apiserver', { servers: [] }, 'wait-for-configuration', /no kube-apiserver has been looked at/],
  [
    'another configuration',
    { servers: [server, { ...server, configHash: 'sha256:b' }] },
    'wait-for-configuration',
    /has loaded another/,
  ],
  [
    'the first provider writes elsewhere',
    { order: { ...order, writes: false, next: { change: 'it reads', text: '' } } },
    'configure',
    /it reads/,
  ],
  [
    'a kube-apiserver with an older key',
    { servers: [{ ...server, keyIdHash: keyIdHash('old') }] },
    'wait-for-servers',
    /uses key sha256/,
  ],
  ['a key that is used for too short', { servers: [{ ...server, forMs: 179_000 }] }, 'wait-for-servers', /since 179 s/],
  [
    'a configuration that was loaded just now',
    { loadedForMs: 179_000 },
    'wait-for-servers',
    /this configuration since 179 s/,
  ],
  [
    'a kube-apiserver that does not show it, and nobody says that it has it',
    { servers: [server, SILENT] },
    'wait-for-configuration',
    /does not show/,
  ],
  ['one that does not show it, and an operator says so', { servers: [SILENT], loaded: true }, 'done', /where it/],
  [
    'one that shows another configuration, whatever an operator says',
    { servers: [{ ...server, configHash: 'sha256:b' }], loaded: true },
    'wait-for-configuration',
    /has loaded another/,
  ],
  ['no scan', { left: undefined }, 'scan', /nobody has looked/],
  ['objects elsewhere', { left: { ...nothing, objects: 1, found: 'aescbc: 1 secrets' } }, 'rewrite', /aescbc: 1/],
  [
    'objects elsewhere, and providers to drop',
    { left: { ...nothing, objects: 1 }, order: { ...order, next: { change: 'gone', text: '' } } },
    'rewrite',
    /^$/,
  ],
  ['providers to drop', { order: { ...order, next: { change: 'gone', text: '' } } }, 'configure', /gone/],
  ['stores to drop', { formers: ['file:/old'] }, 'drop-stores', /file:\/old/],
  [
    'plain text, written for too short',
    { keyset: undefined, loadedForMs: 179_000 },
    'wait-for-servers',
    /this configuration since 179 s/,
  ],
  ['plain text, written for long enough', { keyset: undefined, loadedForMs: 180_000 }, 'done', /where it belongs/],
];
for (const [name, change, step, reason] of states) {
  test(name, () => {
    const next = planMigration({ ...done, ...change });
    assert.is(next.step, step);
    assert.match(next.reason, reason);
    assert.ok(next.remedy.length > 3);
  });
}

test.run();
