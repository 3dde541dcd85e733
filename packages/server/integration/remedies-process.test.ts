// Each test breaks how the plugin runs (process, socket, port), runs the real doctor, does what it prints, and opens what was encrypted before (docs/remedies.md).
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BUNDLE, freePort, launcher, nodeFlags } from '@teapot-kms/testing/daemons';
import { say } from '@teapot-kms/testing';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { doctor, remedyOf } from './support/doctor.ts';
import { eventually, TestSite } from './support/running-plugin.ts';
import { CommonPlugin, served } from './support/served.ts';

const test = suite<{ site: TestSite }>('what doctor advises about the process');
test.before.each((context) => {
  context.site = new TestSite();
});
test.after.each(({ site }) => site.remove());
const common = new CommonPlugin(test);

test('a port that another program has, and one that the plugin takes at its next start', async ({ site }) => {
  const port = await freePort();
  const other = spawn(process.execPath, [
    '-e',
    `require('http').createServer((q, a) => a.end('x')).listen(${port}, '127.0.0.1')`,
  ]);
  try {
    await eventually(() => fetch(`http://127.0.0.1:${port}`));
    const { healed, restart } = await served(site, { head: `http: { port: ${port} }\n` });
    assert.match(remedyOf(site, 'end that program'), `sport = :${port}`);
    other.kill();
    await healed();
    // Another port: it is that of the next start.
    site.writeConfig([site.instance('main')], `http: { port: ${await freePort()} }\n`);
    remedyOf(site, 'a changed "http" takes effect at the next start');
    await restart();
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

common.test(
  'a plugin that does not run is started by the command that is printed, and then core dumps can be checked',
  async ({ site, healed, restart }) => {
    await restart(() => {
      const [, command] = /^start the plugin: teapot-kms (.*) \(/.exec(remedyOf(site, 'start the plugin'))!;
      assert.is(command, `serve --config ${site.configFile}`);
      remedyOf(site, 'run doctor again when the plugin is running');
    });
    await healed();
    assert.match(doctor(site).stdout, '[ ok ] core dumps: are off');
  },
);

common.test(
  'core dumps are on: off after a start as the unit and manifests do it',
  async ({ site, healed, restart, opens }) => {
    const raise = 'ulimit -S -c unlimited';
    if (spawnSync('/bin/sh', ['-c', raise]).status !== 0) {
      say('SKIPPED core dumps that are on: they are off in all processes of this test');
      return;
    }
    await site.stopAll();
    const node = [process.execPath, ...nodeFlags(), join(BUNDLE, 'dist/cli/main.js'), 'serve', '--config'];
    const plugin = spawn('/bin/sh', ['-c', `${raise} && exec ${node.join(' ')} ${site.configFile}`], {
      stdio: 'ignore',
    });
    try {
      await eventually(() => opens());
      remedyOf(site, 'run "ulimit -c 0" before the plugin');
    } finally {
      plugin.kill();
      await once(plugin, 'exit');
    }
    assert.match(readFileSync(launcher(), 'utf8'), /^ulimit -c 0$/m);
    await restart();
    await healed();
  },
);

test('another plugin serves the socket: this one gets a socket of its own', async ({ site }) => {
  const { healed, restart } = await served(site);
  await site.stopAll();
  const socket = site.socket('main');
  // What a gRPC server answers that does not know the call.
  const other = spawn(process.execPath, [
    '-e',
    `require('http2').createServer().on('stream', (stream) => stream.respond(
      { ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '12' }, { endStream: true },
    )).listen(${JSON.stringify(socket)})`,
  ]);
  try {
    await eventually(() => assert.ok(statSync(socket).isSocket()));
    remedyOf(site, 'give this instance a socket of its own');
    const config = readFileSync(site.configFile, 'utf8').replace(socket, site.socket('own'));
    await restart(() => writeFileSync(site.configFile, config));
    await healed('own');
  } finally {
    other.kill();
  }
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

common.test('a directory in the place of the socket is moved aside', async ({ site, plugin, healed }) => {
  rmSync(site.socket('main'));
  mkdirSync(site.socket('main'));
  await plugin.logged('a directory is in the place of the socket');
  const remedy = remedyOf(site, 'move aside what is in the place of the socket');
  assert.match(remedy, site.socket('main'));
  renameSync(site.socket('main'), `${site.socket('main')}.aside`);
  await healed();
});

test.run();
