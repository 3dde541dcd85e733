// Each test breaks something around the plugin (socket, port, directories, users, clock), runs the real doctor, does what it prints, and opens what was encrypted before (docs/remedies.md).
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { launcher } from '@teapot-kms/testing/daemons';
import { say } from '@teapot-kms/testing';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { doctor, remedyOf, run } from './support/doctor.ts';
import { eventually, teapot, TestSite } from './support/running-plugin.ts';
import { CommonPlugin, served } from './support/served.ts';

const test = suite<{ site: TestSite }>('what doctor advises about the host');
test.before.each((context) => {
  context.site = new TestSite();
});
test.after.each(({ site }) => site.remove());
const common = new CommonPlugin(test);

/** Runs `work` in a process whose clock is off by so many ms, and so are those that it starts. */
function withClockOff<T>(site: TestSite, ms: number, work: () => T): T {
  const file = site.path('clock.mjs');
  writeFileSync(file, `const { now } = Date; Date.now = () => now() + ${ms};`);
  process.env['NODE_OPTIONS'] = `--import ${file}`;
  try {
    return work();
  } finally {
    delete process.env['NODE_OPTIONS'];
  }
}

common.test('a socket directory in which everyone may replace the socket', async ({ site, healed }) => {
  chmodSync(site.path('run/main'), 0o777);
  run(remedyOf(site, 'chmod go-w'));
  run(remedyOf(site, 'chmod 0700'));
  await healed();
});

common.test('a state directory on a full file system', async ({ site, healed, restart }) => {
  const state = site.path('state');
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k,mode=700', 'none', state]).status === 0;
  if (!mounted) {
    say('SKIPPED a full file system: run as root with CAP_SYS_ADMIN');
    return;
  }
  try {
    await restart(() => spawnSync('dd', ['if=/dev/zero', `of=${state}/filler`]));
    const remedy = remedyOf(site, 'make room in the file system of');
    assert.ok(remedy.endsWith(state), remedy);
    rmSync(`${state}/filler`);
    await healed();
  } finally {
    spawnSync('umount', ['-l', state]);
  }
});

test('a socket directory on a file system that is mounted read-only', async ({ site }) => {
  const { healed } = await served(site);
  await site.stopAll();
  mkdirSync(site.path('run'), { recursive: true });
  const mounted = spawnSync('mount', ['-t', 'tmpfs', 'none', site.path('run')]).status === 0;
  if (!mounted) return say('SKIPPED a read-only /run: run as root with CAP_SYS_ADMIN');
  try {
    run(`mount -o remount,ro ${site.path('run')}`);
    run(remedyOf(site, 'remount,rw'));
    await site.serve([], 'key loaded');
    await healed();
    await site.stopAll();
  } finally {
    spawnSync('umount', ['-l', site.path('run')]);
  }
});

test('a state directory that cannot be written is a hint, and not a reason for status to fail', async ({ site }) => {
  writeFileSync(site.path('state'), '');
  const { healed } = await served(site);
  const { code, stdout } = teapot('status', '--config', site.configFile);
  assert.is(code, 0, stdout);
  assert.match(stdout, /^hint .*state cannot be written/m);
  const { code: doctors, stdout: said } = doctor(site);
  assert.is(doctors, 0, said);
  const remedy = remedyOf(site, 'move aside the file');
  assert.ok(remedy.endsWith(site.path('state')), remedy);
  renameSync(site.path('state'), site.path('state.aside'));
  await site.stopAll();
  await site.serve([], 'key loaded');
  await healed();
});

test("a keyset that belongs to another user than the plugin's: doctor and commands of root name that user", async ({
  site,
}) => {
  const common = await served(site);
  const { directory, healed, restart } = common;
  chownSync(directory, 65_534, 65_534);
  const named = /belongs to user 65534( \(\w+\))?, who can change the keyset; the plugin runs as user 0/;
  assert.match(teapot('keys', 'list', '--config', site.configFile).stderr, named);
  assert.match(doctor(site).stdout, named);
  await restart();
  await common.plugin.logged('who can change the keyset');
  run(remedyOf(site, 'if its content is right').replace(/.*: chown/, 'chown'));
  assert.not.match(teapot('keys', 'list', '--config', site.configFile).stderr, named);
  await healed();
});

test('what the user of the plugin cannot read, although root runs doctor; and a user who may not connect', async ({
  site,
}) => {
  const { directory, opens, healed } = await served(site);
  await site.stopAll();
  const uid = 12_345;
  for (const path of ['state', 'run/main']) {
    mkdirSync(site.path(path), { recursive: true });
    chownSync(site.path(path), uid, uid);
  }
  const step = (text: string): void => run(remedyOf(site, text));
  step(`chmod o+x ${site.directory}`);
  step(`chmod o+x ${site.path('keys')}`);
  step(`chown -R ${uid} ${directory}`);
  assert.not.match(doctor(site).stdout, 'cannot read it');
  chmodSync(site.configFile, 0o644);
  chmodSync(site.path('run'), 0o755);
  const plugin = spawn(launcher(), ['serve', '--config', site.configFile], { uid, gid: uid, stdio: 'ignore' });
  try {
    await eventually(() => opens());
    // What the plugin has recorded as root stays, until this user can read it.
    await eventually(() => step(`chown -R ${uid} ${site.path('state')}`));
    const other = { uid: 23_456, gid: 23_456, encoding: 'utf8' } as const;
    const { stdout } = spawnSync(launcher(), ['doctor', '--config', site.configFile], other);
    assert.match(stdout, 'run doctor as root, or as the user of the plugin');
    await healed();
  } finally {
    plugin.kill();
  }
});

common.test('a clock that is years behind', async ({ site, healed }) => {
  const file = site.path('report.json');
  writeFileSync(file, teapot('status', '--report', '--config', site.configFile).stdout);
  const { remedies } = withClockOff(site, -1e11, () => doctor(site, '--report', file));
  assert.ok(remedies.some((remedy) => remedy.startsWith('set the clock of this host, and synchronize it (NTP)')));
  assert.ok(remedies.some((remedy) => remedy.startsWith(`set the clock that is wrong, here or on ${hostname()}`)));
  assert.is(doctor(site, '--report', file).code, 0);
  await healed();
});

common.test('a clock that is years ahead differs from the reports of replicas', async ({ site, healed }) => {
  const file = site.path('report.json');
  const report = () => writeFileSync(file, teapot('status', '--report', '--config', site.configFile).stdout);
  report();
  const remedy = () =>
    remedyOf(site, `make a new report on ${hostname()}; if its time still differs`, '--report', file);
  withClockOff(site, 1e11, remedy);
  report();
  assert.match(withClockOff(site, 1e11, remedy), 'set the clock that is wrong');
  assert.is(doctor(site, '--report', file).code, 0);
  await healed();
});

test('a directory that the user of the plugin cannot write into', async ({ site }) => {
  const { healed } = await served(site);
  await site.stopAll();
  const uid = 12_345;
  chownSync(site.path('state'), uid, uid);
  mkdirSync(site.path('run/main'), { recursive: true });
  for (const path of [site.directory, site.path('run')]) chmodSync(path, 0o755);
  const remedy = remedyOf(site, `install -d -m 0700 -o ${uid} ${site.path('run/main')}`);
  run(remedy);
  assert.is(statSync(site.path('run/main')).uid, uid);
  assert.not(doctor(site).remedies.includes(remedy));
  // The plugin of this test runs as root, and trusts no directory of another user.
  for (const path of [site.path('state'), site.path('run/main')]) chownSync(path, 0, 0);
  await site.serve([], 'key loaded');
  await healed();
});

test.run();
