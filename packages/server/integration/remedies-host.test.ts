// Each test breaks something around the plugin (socket, port, directories, users, clock), runs the real doctor, does what it prints, and opens what was encrypted before (docs/remedies.md).
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { freePort, launcher } from '@teapot-kms/testing/daemons';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { doctor, remedyOf, run } from './support/doctor.ts';
import { eventually, teapot, TestSite, withClient } from './support/running-plugin.ts';
import { served } from './support/served.ts';

const test = suite<{ site: TestSite }>('what doctor advises about the host');
test.before.each((context) => {
  context.site = new TestSite();
});
test.after.each(({ site }) => site.remove());

test('a socket directory in which everyone may replace the socket', async ({ site }) => {
  const { healed } = await served(site);
  chmodSync(site.path('run/main'), 0o777);
  run(remedyOf(site, 'chmod go-w'));
  run(remedyOf(site, 'chmod 0700'));
  await healed();
});

test('a socket directory on a file system that is mounted read-only', async ({ site }) => {
  const { healed } = await served(site);
  await site.stopAll();
  mkdirSync(site.path('run'), { recursive: true });
  const mounted = spawnSync('mount', ['-t', 'tmpfs', 'none', site.path('run')]).status === 0;
  if (!mounted) return console.log('\nSKIPPED a read-only /run: run as root with CAP_SYS_ADMIN');
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

test('a port that another program has', async ({ site }) => {
  const port = await freePort();
  const other = spawn(process.execPath, [
    '-e',
    `require('http').createServer((q, a) => a.end('x')).listen(${port}, '127.0.0.1')`,
  ]);
  try {
    await eventually(() => fetch(`http://127.0.0.1:${port}`));
    const { healed } = await served(site, `http: { port: ${port} }\n`);
    assert.match(remedyOf(site, 'end that program'), `sport = :${port}`);
    other.kill();
    await healed();
  } finally {
    other.kill();
  }
});

test('doctor distinguishes a plugin that hangs from one that does not run, and its advice restarts it', async ({
  site,
}) => {
  const { plugin, healed } = await served(site);
  plugin.process.kill('SIGSTOP');
  const { stdout, remedies } = doctor(site);
  assert.match(stdout, /serves the socket and does not answer: it hangs/);
  assert.match(stdout, /\[ ok \] main, keys .*: loaded/);
  assert.ok(remedies.includes('read its log. Only if all checks of its key store above are fine, restart the plugin'));
  await plugin.kill('SIGKILL');
  remedyOf(site, 'start the plugin');
  await site.serve([], 'key loaded');
  await healed();
});

test('a plugin that does not run is started by the command that is printed', async ({ site }) => {
  const { healed } = await served(site);
  await site.stopAll();
  const [, command] = /^start the plugin: teapot-kms (.*) \(/.exec(remedyOf(site, 'start the plugin'))!;
  assert.is(command, `serve --config ${site.configFile}`);
  await site.serve([], 'key loaded');
  await healed();
});

test('a plugin whose socket cannot be opened again gets a successor beside it, and then ends', async ({ site }) => {
  const { plugin, healed } = await served(site);
  // Its directory is one in which others can replace the socket, and the plugin does not open it there.
  chmodSync(site.path('run'), 0o777);
  rmSync(site.path('run/main'), { recursive: true });
  await plugin.logged('cannot open the socket');
  const remedy = remedyOf(site, `and then end process ${plugin.process.pid}`);
  assert.match(remedy, `teapot-kms serve --config ${site.configFile} --take-over`);
  plugin.process.kill('SIGSTOP');
  chmodSync(site.path('run'), 0o755);
  await site.serve(['--take-over'], 'key loaded');
  plugin.process.kill('SIGCONT');
  await plugin.kill('SIGTERM');
  await healed();
});

test('a directory in the place of the socket is moved aside', async ({ site }) => {
  const { plugin, healed } = await served(site);
  rmSync(site.socket('main'));
  mkdirSync(site.socket('main'));
  await plugin.logged('a directory is in the place of the socket');
  const remedy = remedyOf(site, 'move aside what is in the place of the socket');
  assert.match(remedy, site.socket('main'));
  renameSync(site.socket('main'), `${site.socket('main')}.aside`);
  await healed();
});

test("a keyset that belongs to another user than the plugin's: doctor and commands of root name that user", async ({
  site,
}) => {
  const { directory, healed } = await served(site);
  chownSync(directory, 65_534, 65_534);
  const named = /belongs to user 65534( \(\w+\))?, who can change the keyset; the plugin runs as user 0/;
  assert.match(teapot('keys', 'list', '--config', site.configFile).stderr, named);
  assert.match(doctor(site).stdout, named);
  await site.stopAll();
  const again = await site.serve([], 'key loaded');
  await again.logged('who can change the keyset');
  run(remedyOf(site, 'if its content is right').replace(/.*: chown/, 'chown'));
  assert.not.match(teapot('keys', 'list', '--config', site.configFile).stderr, named);
  await healed();
});

test('what the user of the plugin cannot read, although root runs doctor', async ({ site }) => {
  const { directory } = await served(site);
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
    await eventually(() => withClient(site.socket('main'), (client) => client.status()));
  } finally {
    plugin.kill();
  }
});

test('a clock that is off by years', async ({ site }) => {
  const { healed } = await served(site);
  const slow = site.path('slow-clock.mjs');
  writeFileSync(slow, 'const { now } = Date; Date.now = () => now() - 1e11;');
  process.env['NODE_OPTIONS'] = `--import ${slow}`;
  try {
    remedyOf(site, 'set the clock of this host');
  } finally {
    delete process.env['NODE_OPTIONS'];
  }
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
