// Each test breaks something on the host, runs the real doctor, does what it prints, and opens what was encrypted before (docs/remedies.md).
import { parseManifest } from '@teapot-kms/core/internal';
import { generateIdentity, identityToRecipient } from 'age-encryption';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { launcher } from '@teapot-kms/testing/daemons';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { commandsIn, doctor, remedyOf, run } from './support/doctor.ts';
import { eventually, teapot, TestSite, withClient } from './support/running-plugin.ts';
import { CommonPlugin, nodeOf, onOtherNode, served } from './support/served.ts';

const test = suite<{ site: TestSite }>('what doctor advises');
const common = new CommonPlugin(test);
test.before.each((context) => {
  context.site = new TestSite();
});
test.after.each(({ site }) => site.remove());

let backups = 0;
const identity = await generateIdentity();
const recipient = await identityToRecipient(identity);

/** Writes a backup of the keyset; returns how BACKUP is given. */
function backUp(site: TestSite): { BACKUP: string } {
  const [file, key] = [site.path(`main-${++backups}.age`), site.path('identity')];
  writeFileSync(key, identity, { mode: 0o600 });
  const args = ['--uri', site.keys('main'), '--out', file, '--recipient', recipient];
  const { code, stderr } = teapot('keys', 'export', ...args);
  assert.is(code, 0, stderr);
  return { BACKUP: `${file} --identity ${key}` };
}

/** What "teapot-kms status --report" prints there. */
const reportOf = (site: TestSite, name = 'main'): string =>
  teapot('status', '--report', '--config', site.configFile, '--instance', name).stdout;

/** The same, in a file that doctor reads here. */
function bring(site: TestSite, report: string): string {
  writeFileSync(site.path('report.json'), report);
  return site.path('report.json');
}

const IMPORT = /teapot-kms keys import BACKUP --config \S+ --instance \S+?(?=[.,]? |\.?$)/;

common.test('a keyset that is gone: from another node', async ({ site, directory, healed }) => {
  renameSync(directory, `${directory}.lost-1`);
  const remedy = remedyOf(site, 'mount the volume of the keyset');
  assert.not.match(remedy, 'keys generate');
  run(commandsIn(remedy)[0]!, nodeOf(site));
  await healed();
});

common.test('a keyset that is gone: from the backup', async ({ site, directory, healed }) => {
  const backup = backUp(site);
  renameSync(directory, `${directory}.lost-2`);
  run(IMPORT.exec(remedyOf(site, 'mount the volume of the keyset'))![0], backup);
  await healed();
});

common.test(
  'a damaged manifest is moved aside, and the keyset comes from another node',
  async ({ site, directory, healed }) => {
    writeFileSync(`${directory}/keyset.yaml`, 'formatVersion: 2\nkeys: none\n');
    for (const command of commandsIn(remedyOf(site, 'move the damaged manifest aside'))) run(command, nodeOf(site));
    await healed();
  },
);

for (const { what, damage } of [
  { what: 'wrong bytes in a key file', damage: (path: string) => writeFileSync(path, randomBytes(32)) },
  { what: 'a key file of a wrong size', damage: (path: string) => writeFileSync(path, 'text') },
  { what: 'a key file that is gone', damage: (path: string) => rmSync(path) },
]) {
  common.test(`${what}: from another node, or from the backup`, async ({ site, directory, keyId, healed }) => {
    const backup = backUp(site);
    damage(`${directory}/${keyId}.key`);
    run(commandsIn(remedyOf(site, 'restore the keys'))[0]!, nodeOf(site));
    await healed();
    damage(`${directory}/${keyId}.key`);
    run(IMPORT.exec(remedyOf(site, 'restore the keys'))![0], backup);
    await healed();
  });
}

test('a key that is damaged here, and another one on the other node: neither copy is written over', async ({
  site,
}) => {
  const { directory, keyId, healed } = await served(site);
  const next = site.generate('main');
  onOtherNode(site);
  const whole = readFileSync(`${directory}/${next}.key`);
  const [here, there] = [randomBytes(32), randomBytes(32)];
  writeFileSync(`${directory}/${keyId}.key`, here);
  writeFileSync(`${site.path('node', directory)}/${next}.key`, there);
  const remedy = remedyOf(site, 'restore the keys');
  run(commandsIn(remedy)[0]!, nodeOf(site));
  assert.equal(readFileSync(`${directory}/${next}.key`), whole);
  assert.equal(readFileSync(`${directory}/${keyId}.key.damaged`), here);
  await healed();
  // The other node, with what this one has.
  assert.is(teapot('keys', 'import', directory, '--uri', `file:${site.path('node', directory)}`).code, 0);
  assert.equal(readFileSync(`${site.path('node', directory)}/${next}.key`), whole);
});

test('a manifest that is gone while its keys are there: it comes from another node, and no new keyset is advised', async ({
  site,
}) => {
  const { directory, restart, healed } = await served(site);
  const remedies: string[] = [];
  await restart(() => {
    // A host that has never used the keyset.
    rmSync(site.path('state'), { recursive: true });
    rmSync(`${directory}/keyset.yaml`);
    remedies.push(...doctor(site).remedies);
  }, 'listening');
  assert.not.match(remedies.join('\n'), 'keys generate');
  run(commandsIn(remedyOf(site, 'restore the manifest of these keys'))[0]!, nodeOf(site));
  await healed();
});

for (const { what, name } of [
  { what: 'a space and a dollar sign', name: 'tea pot $HOME-' },
  { what: 'what a shell would run', name: 'tea;exit 1;$(false)`false`&-' },
]) {
  test(`paths with ${what}: each command can be copied as it is printed`, async () => {
    const site = new TestSite(mkdtempSync(join(tmpdir(), name)));
    try {
      const { directory, keyId, healed } = await served(site);
      chmodSync(`${directory}/${keyId}.key`, 0o644);
      run(remedyOf(site, 'chmod 0600').split(', or')[0]!);
      await healed();
      renameSync(directory, `${directory}.lost`);
      run(commandsIn(remedyOf(site, 'mount the volume of the keyset'))[0]!, nodeOf(site));
      await healed();
      chmodSync(site.path('run/main'), 0o777);
      run(remedyOf(site, 'chmod go-w'));
      run(remedyOf(site, 'chmod 0700'));
      await healed();
    } finally {
      await site.remove();
    }
  });
}

test('an older keyset after a restart: it is moved aside, and the newest comes from another node', async ({ site }) => {
  const { directory, restart, healed } = await served(site);
  cpSync(directory, site.path('older'), { recursive: true });
  const next = site.generate('main');
  await eventually(() => site.promote('main', next));
  await eventually(() =>
    withClient(site.socket('main'), async (client) => assert.is((await client.status()).keyId, next)),
  );
  onOtherNode(site);
  const goBack = (): void => {
    rmSync(directory, { recursive: true });
    cpSync(site.path('older'), directory, { recursive: true });
  };
  await restart(goBack, 'listening');
  const commands = commandsIn(remedyOf(site, 'Move the keyset here aside'));
  for (const command of commands.filter((one) => /^(mv|scp)/.test(one))) run(command, nodeOf(site));
  await healed();
});

for (const { mode, remedy } of [
  { mode: 0o644, remedy: 'chmod 0600' },
  { mode: 0o640, remedy: 'chmod 0600' },
]) {
  common.test(`a key file of mode 0${mode.toString(8)}`, async ({ site, directory, keyId, healed }) => {
    chmodSync(`${directory}/${keyId}.key`, mode);
    run(remedyOf(site, remedy).split(',')[0]!);
    await healed();
  });
}

common.test('a key file of another user', async ({ site, directory, keyId, healed }) => {
  chownSync(`${directory}/${keyId}.key`, 65_534, 65_534);
  run(remedyOf(site, 'if it is the right key').replace(/.*: chown/, 'chown'));
  await healed();
});

common.test('a key store that fails in another way is made as it was', async ({ site, directory, healed }) => {
  const manifest = `${directory}/keyset.yaml`;
  renameSync(manifest, `${manifest}.aside`);
  mkdirSync(manifest);
  remedyOf(site, 'make the key store reachable and readable again, as it was');
  rmdirSync(manifest);
  renameSync(`${manifest}.aside`, manifest);
  await healed();
});

common.test('one cause is one problem with one remedy', async ({ site, directory, keyId, healed }) => {
  const blob = `${directory}/${keyId}.key`;
  const good = readFileSync(blob);
  writeFileSync(blob, randomBytes(32));
  await eventually(() => assert.is(teapot('status', '--config', site.configFile).code, 3));
  const { stdout, remedies } = doctor(site);
  assert.is(stdout.match(/^\[FAIL\]/gm)?.length, 1, stdout);
  assert.is(remedies.length, 1, stdout);
  writeFileSync(blob, good);
  await healed();
});

common.test('a record of this host that is damaged is confirmed', async ({ site, healed, restart }) => {
  const damage = () => run(`for file in ${site.path('state')}/*.json; do echo damaged > "$file"; done`);
  await restart(damage);
  await eventually(() => assert.match(doctor(site).stdout, 'a keyset that was rolled back is not recognised'));
  const remedy = remedyOf(site, 'with the other nodes. If it is the newest keyset');
  assert.is(
    teapot('keys', 'list', '--config', site.configFile, '--instance', 'main', '--output', 'json').stdout,
    teapot('keys', 'list', '--uri', `file:${site.path('node', site.path('keys/main'))}`, '--output', 'json').stdout,
  );
  run(/teapot-kms keys confirm .*$/.exec(remedy)![0]);
  await healed();
});

common.test('a replica that has not loaded a key, by its report', async ({ site: here, directory, keyId }) => {
  const host = new TestSite();
  try {
    const there = await served(host, { keyset: directory });
    await there.restart(() => rmSync(`${there.directory}/${keyId}.key`), 'listening');
    await eventually(() => assert.match(reportOf(host), /"keys":\[\]/));
    remedyOf(here, 'it says why, and what to do', '--report', bring(here, reportOf(host)));
    run(commandsIn(remedyOf(host, 'restore the keys'))[0]!, nodeOf(host));
    await there.healed();
    assert.is(doctor(here, '--report', bring(here, reportOf(host))).code, 0);
  } finally {
    await host.remove();
  }
});

common.test(
  'a replica of another keyset, by its report: both keysets are kept',
  async ({ site: here, directory, opens }) => {
    const host = new TestSite();
    try {
      const there = await served(host);
      const remedy = remedyOf(here, 'run doctor on ', '--report', bring(here, reportOf(host)));
      assert.match(remedy, 'If all is well there, keep both keysets');
      assert.match(doctor(host).stdout, 'Nothing to do');
      // As the guide says: the keyset of one node, beside that of the other one.
      cpSync(directory, host.path('keys/shared'), { recursive: true });
      host.writeConfig([host.instance('main'), host.instance('shared')]);
      await eventually(() => opens(host, 'shared'));
      await there.opens();
      assert.is(doctor(here, '--report', bring(here, reportOf(host, 'shared'))).code, 0);
    } finally {
      await host.remove();
    }
  },
);

// The last two: they change the keyset.
common.test('a replica that has an older keyset, by its report', async ({ site, healed }) => {
  const file = bring(site, reportOf(site));
  assert.is(doctor(site, '--report', file).code, 0);
  site.generate('main');
  const remedy = remedyOf(site, 'copy the newer keyset', '--report', file);
  const [, copy, there] = /^copy the newer keyset: (scp .*), then on \S+: (teapot-kms .*), and make new reports$/.exec(
    remedy,
  )!;
  const beside = `${site.path('keys/main')}.generation-2`;
  assert.is(copy, `scp -rp ${site.path('keys/main')} ${hostname()}:${beside}`);
  run(copy!, { [`${hostname()}:`]: '' });
  run(there!);
  await eventually(() => assert.is(doctor(site, '--report', bring(site, reportOf(site))).code, 0));
  await healed();
});

common.test('a pending key that is damaged is restored before it is promoted', async ({ site, directory, healed }) => {
  const next = site.generate('main');
  onOtherNode(site);
  const fetch = `${launcher()} status --report --socket ${site.socket('main')}`;
  const promote = () =>
    teapot('keys', 'promote', '--uri', site.keys('main'), next, '--replicas', '1', '--fetch', fetch);
  rmSync(`${directory}/${next}.key`);
  assert.match(promote().stderr, 'Fix: look with "teapot-kms doctor"');
  run(commandsIn(remedyOf(site, 'restore the keys'))[0]!, nodeOf(site));
  await eventually(() => assert.is(promote().code, 0));
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
