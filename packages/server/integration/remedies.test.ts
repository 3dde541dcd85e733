// Each test breaks something on the host, runs the real doctor, does what it prints, and opens what was encrypted before (docs/remedies.md).
import { parseManifest } from '@teapot-kms/core/internal';
import { randomBytes } from 'node:crypto';
import { chmodSync, cpSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { commandsIn, doctor, remedyOf, run } from './support/doctor.ts';
import { eventually, teapot, TestSite, withClient } from './support/running-plugin.ts';
import { nodeOf, onOtherNode, served } from './support/served.ts';

const test = suite<{ site: TestSite }>('what doctor advises');
test.before.each((context) => {
  context.site = new TestSite();
});
test.after.each(({ site }) => site.remove());

/** Writes a backup of the keyset; returns how BACKUP is given. */
function backUp(site: TestSite): { BACKUP: string } {
  const [file, passphrase] = [site.path('main.age'), site.path('passphrase')];
  writeFileSync(passphrase, randomBytes(16).toString('hex'), { mode: 0o600 });
  const { code, stderr } = teapot(
    'keys',
    'export',
    '--out',
    file,
    '--uri',
    site.keys('main'),
    '--passphrase-file',
    passphrase,
  );
  assert.is(code, 0, stderr);
  return { BACKUP: `${file} --passphrase-file ${passphrase}` };
}

const IMPORT = /teapot-kms keys import BACKUP --config \S+ --instance \S+?(?=[.,]? |\.?$)/;

test('a keyset that is gone: from another node', async ({ site }) => {
  const { directory, healed } = await served(site);
  renameSync(directory, `${directory}.lost`);
  const remedy = remedyOf(site, 'mount the volume of the keyset');
  assert.not.match(remedy, 'keys generate');
  run(commandsIn(remedy)[0]!, nodeOf(site));
  await healed();
});

test('a keyset that is gone: from the backup', async ({ site }) => {
  const { directory, healed } = await served(site);
  const backup = backUp(site);
  renameSync(directory, `${directory}.lost`);
  run(IMPORT.exec(remedyOf(site, 'mount the volume of the keyset'))![0], backup);
  await healed();
});

test('a damaged manifest is moved aside, and the keyset comes from another node', async ({ site }) => {
  const { directory, healed } = await served(site);
  writeFileSync(`${directory}/keyset.yaml`, 'formatVersion: 2\nkeys: none\n');
  for (const command of commandsIn(remedyOf(site, 'move the damaged manifest aside'))) run(command, nodeOf(site));
  await healed();
});

for (const { what, damage } of [
  { what: 'wrong bytes in a key file', damage: (path: string) => writeFileSync(path, randomBytes(32)) },
  { what: 'a key file of a wrong size', damage: (path: string) => writeFileSync(path, 'text') },
  { what: 'a key file that is gone', damage: (path: string) => rmSync(path) },
]) {
  test(`${what}: from another node, or from the backup`, async ({ site }) => {
    const { directory, keyId, healed } = await served(site);
    const backup = backUp(site);
    damage(`${directory}/${keyId}.key`);
    run(commandsIn(remedyOf(site, 'restore the keys'))[0]!, nodeOf(site));
    await healed();
    damage(`${directory}/${keyId}.key`);
    run(IMPORT.exec(remedyOf(site, 'restore the keys'))![0], backup);
    await healed();
  });
}

test('an older keyset after a restart: it is moved aside, and the newest comes from another node', async ({ site }) => {
  const { directory, healed } = await served(site);
  cpSync(directory, site.path('older'), { recursive: true });
  const next = site.generate('main');
  await eventually(() => site.promote('main', next));
  await eventually(() =>
    withClient(site.socket('main'), async (client) => assert.is((await client.status()).keyId, next)),
  );
  onOtherNode(site);
  await site.stopAll();
  rmSync(directory, { recursive: true });
  cpSync(site.path('older'), directory, { recursive: true });
  await site.serve();
  const commands = commandsIn(remedyOf(site, 'Move the keyset here aside'));
  for (const command of commands.filter((one) => /^(mv|scp)/.test(one))) run(command, nodeOf(site));
  await healed();
});

for (const { mode, remedy } of [
  { mode: 0o644, remedy: 'chmod 0600' },
  { mode: 0o640, remedy: 'chmod 0600' },
]) {
  test(`a key file of mode 0${mode.toString(8)}`, async ({ site }) => {
    const { directory, keyId, healed } = await served(site);
    chmodSync(`${directory}/${keyId}.key`, mode);
    run(remedyOf(site, remedy).split(',')[0]!);
    await healed();
  });
}

test('a replica that has an older keyset, by its report', async ({ site }) => {
  const { healed } = await served(site);
  const file = site.path('report.json');
  writeFileSync(file, teapot('status', '--report', '--config', site.configFile).stdout);
  assert.is(doctor(site, '--report', file).code, 0);
  site.generate('main');
  const remedy = remedyOf(site, 'copy the newer keyset', '--report', file);
  assert.match(remedy, new RegExp(`scp -rp ${site.path('keys/main')} [^ ]+:${site.path('keys')}/`));
  await eventually(() => {
    writeFileSync(file, teapot('status', '--report', '--config', site.configFile).stdout);
    assert.is(doctor(site, '--report', file).code, 0);
  });
  await healed();
});

test('one cause is one problem with one remedy', async ({ site }) => {
  const { directory, keyId } = await served(site);
  writeFileSync(`${directory}/${keyId}.key`, randomBytes(32));
  await eventually(() => assert.is(teapot('status', '--config', site.configFile).code, 3));
  const { stdout, remedies } = doctor(site);
  assert.is(stdout.match(/^\[FAIL\]/gm)?.length, 1, stdout);
  assert.is(remedies.length, 1, stdout);
});

test('a replica of another keyset, by its report, is to be looked at there', async ({ site }) => {
  const { healed } = await served(site);
  const file = site.path('report.json');
  const report = JSON.parse(teapot('status', '--report', '--config', site.configFile).stdout) as object;
  writeFileSync(file, JSON.stringify({ ...report, contextId: 'f'.repeat(32) }));
  remedyOf(site, 'run doctor on ', '--report', file);
  writeFileSync(file, JSON.stringify({ ...report, keys: [] }));
  remedyOf(site, 'it says why, and what to do', '--report', file);
  await healed();
});

test('a report that was edited is not believed: a new one from the replica is', async ({ site }) => {
  const { directory, keyId, healed } = await served(site);
  const file = site.path('report.json');
  const report = () => teapot('status', '--report', '--config', site.configFile).stdout;
  const old = JSON.parse(report()) as object;
  site.generate('main');
  const { generation, hash } = parseManifest(readFileSync(`${directory}/keyset.yaml`, 'utf8'), 'the manifest');
  writeFileSync(file, JSON.stringify({ ...old, generation, hash }));
  const [command] = commandsIn(remedyOf(site, 'make a new report', '--report', file));
  await eventually(() => {
    run(`${command} > ${file}`);
    const { code, stdout } = doctor(site, '--report', file);
    assert.is(code, 0, stdout);
    assert.match(stdout, `and proves that it holds ${keyId}, `);
  });
  await healed();
});

test.run();
