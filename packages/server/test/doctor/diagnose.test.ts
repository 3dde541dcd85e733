// When doctor suggests to make a keyset: only where nothing shows that there ever was one.
import { newDirectory } from '@teapot-kms/testing';
import { HostRecords } from '@teapot-kms/core';
import { version1Manifest } from '@teapot-kms/testing';
import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '../../src/config/load.ts';
import { diagnose } from '../../src/doctor/diagnose.ts';

/** A host without a keyset and without a plugin. */
function newHost() {
  const directory = newDirectory();
  const path = (...parts: string[]): string => join(directory, ...parts);
  const [file, socket] = [path('config.yaml'), path('run/kms.sock')];
  const keys = `keys: { uri: "file:${path('keys')}" }`;
  writeFileSync(
    file,
    `version: 1\nhttp: false\nstateDirectory: ${path('state')}\ninstances: [{ name: main, socket: ${socket}, ${keys} }]\n`,
    { mode: 0o600 },
  );
  const remedies = async (): Promise<string> => {
    const found: string[] = [];
    for await (const { remedy } of diagnose(loadConfig(file), file)) if (remedy !== undefined) found.push(remedy);
    return found.join('\n');
  };
  return { path, file, socket, remedies };
}

test('a host that has never used a keyset may make one', async () => {
  assert.match(
    await newHost().remedies(),
    'Only if this cluster has never had encrypted data: teapot-kms keys generate',
  );
});

for (const { what, change } of [
  { what: 'is damaged', change: (record: string) => writeFileSync(record, 'damaged') },
  { what: 'cannot be read', change: (record: string) => mkdirSync(record) },
  { what: 'is whole', change: undefined },
]) {
  test(`no new keyset where the record of this host ${what}`, async () => {
    const { path, socket, remedies } = newHost();
    const from = what === 'cannot be read' ? 'other' : 'state';
    await new HostRecords(path(from)).write(socket, version1Manifest('one') as never);
    const [name] = readdirSync(path(from));
    mkdirSync(path('state'), { recursive: true });
    change?.(path('state', name!));
    assert.not.match(await remedies(), 'keys generate');
  });
}

test('no new keyset where a process serves that does not answer: it may have the keys', async () => {
  const { file, remedies } = newHost();
  const plugin = spawn(process.execPath, [
    '-e',
    "console.log('up'); setInterval(() => {}, 1e6)",
    '--',
    'serve',
    '--config',
    file,
  ]);
  try {
    await new Promise((resolve) => plugin.stdout.once('data', resolve));
    assert.not.match(await remedies(), 'keys generate');
  } finally {
    plugin.kill();
  }
});

test('no new keyset where keys are, although their manifest is gone', async () => {
  const { path, remedies } = newHost();
  mkdirSync(path('keys'), { mode: 0o700 });
  writeFileSync(path('keys/one.key'), Buffer.alloc(32), { mode: 0o600 });
  const found = await remedies();
  assert.not.match(found, 'keys generate');
  assert.match(found, 'restore the manifest of these keys from another node (scp -rp ');
});

test.run();
