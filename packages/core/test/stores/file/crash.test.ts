// A writer that dies at any point leaves the old keyset or the new one (design D11). Each death is a process, so every
// fifth operation is taken, and all of them in a full run.
import { cpSync, existsSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeEnvelope } from '../../../src/envelope/codec.ts';
import { generateKey, promoteKey, retireKey } from '../../../src/keyset/administration.ts';
import type { Manifest } from '../../../src/keyset/manifest.ts';
import { patient } from '../../support/context.ts';
import { fullRun, newDirectory, rejectsWithCode } from '@teapot-kms/testing';
import { open } from '../../support/directories.ts';
import { figure } from '../../support/figure.ts';
import { runChild } from '../../support/run-child.ts';

const adminOf = (directory: string) => open(directory).admin!;

/** Which keys there are in which state, without ids and times that differ from run to run. */
const shapeOf = (manifest: Manifest | undefined) =>
  manifest && [manifest.keys.findIndex((key) => key.id === manifest.primary), ...manifest.keys.map((key) => key.state)];

interface Case {
  readonly command: string;
  readonly prepare: (directory: string) => Promise<string>;
  readonly after: readonly (number | string)[];
}

const cases: Case[] = [
  { command: 'generate', prepare: () => Promise.resolve(''), after: [0, 'promoted'] },
  {
    command: 'generate',
    prepare: async (directory) => (await generateKey(adminOf(directory))).keyId,
    after: [0, 'promoted', 'pending'],
  },
  {
    command: 'promote',
    prepare: async (directory) => {
      await generateKey(adminOf(directory));
      return (await generateKey(adminOf(directory))).keyId;
    },
    after: [1, 'promoted', 'promoted'],
  },
  {
    command: 'retire',
    prepare: async (directory) => {
      const { keyId } = await generateKey(adminOf(directory));
      await promoteKey(adminOf(directory), (await generateKey(adminOf(directory))).keyId);
      return keyId;
    },
    after: [1, 'retired', 'promoted'],
  },
  {
    command: 'destroy',
    prepare: async (directory) => {
      const { keyId } = await generateKey(adminOf(directory));
      await promoteKey(adminOf(directory), (await generateKey(adminOf(directory))).keyId);
      await retireKey(adminOf(directory), keyId);
      return keyId;
    },
    after: [0, 'promoted'],
  },
];

for (const { command, prepare, after } of cases) {
  test(`a writer killed at any operation of ${command} (to ${after.join(' ')}) leaves the old keyset or the new one`, async () => {
    const template = join(newDirectory(), 'keys');
    const keyId = await prepare(template);
    const before = shapeOf((await adminOf(template).readManifest())?.manifest);
    const old = before && (await open(template).load(patient));
    const envelope = old?.primary.seal(Buffer.from('sealed before'));
    let [kills, done] = [0, false];

    const killAt = async (n: number) => {
      const directory = join(newDirectory(), 'keys');
      if (existsSync(template)) cpSync(template, directory, { recursive: true });
      const { signal, code, stderr } = await runChild('crashing-writer.ts', [directory, String(n), command, keyId]);
      if (code === 0) done = true;
      else if (signal === 'SIGKILL') kills++;
      else throw new Error(stderr);
      const what = `${command}, killed at ${String(n)}`;
      const shape = shapeOf((await adminOf(directory).readManifest())?.manifest);
      const isNew = JSON.stringify(shape) === JSON.stringify(after);
      if (code === 0) assert.ok(isNew, what);
      else assert.ok(isNew || JSON.stringify(shape) === JSON.stringify(before), `${what}: ${JSON.stringify(shape)}`);
      if (shape) {
        const keyset = await open(directory).load(patient);
        if (envelope && !(isNew && (command === 'retire' || command === 'destroy'))) {
          const found = decodeEnvelope(envelope);
          assert.is(keyset.find(found.keyId).open(found).toString(), 'sealed before', what);
        }
      }
      // A key without a manifest may be one of a keyset that was lost: somebody has to look.
      for (const path of shape ? [] : await adminOf(directory).orphans!()) {
        await rejectsWithCode(() => generateKey(adminOf(directory)), 'ERR_KMS_KEYSET_RULE');
        renameSync(path, `${directory}.aside`);
      }
      // The next writer goes on, whatever the dead one left behind.
      const { keyId: next } = await generateKey(adminOf(directory));
      const keyset = await open(directory).load(patient);
      assert.is(keyset.find(next).keyId, next, what);
      assert.not.ok(existsSync(join(directory, '.lock')), what);
    };

    const step = fullRun ? 1 : 5;
    for (let n = 1; !done; n += 2 * step) await Promise.all([killAt(n), killAt(n + step)]);
    assert.ok(kills * step >= 8, String(kills));
    figure(`crash test ${command} to "${after.join(' ')}": killed at ${String(kills)} operations`);
  });
}

test.run();
