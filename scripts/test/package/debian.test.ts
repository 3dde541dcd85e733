/**
 * The Debian package in `dist`, installed on a bare Debian 12 with a real systemd. A part of `npm run test:full`, after
 * `npm run package`.
 */
import { until } from '@teapot-kms/testing';
import { execFileSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { architecture, root } from '../../package/release.ts';
import { Machine } from './machine.ts';

const [deb] = globSync(join(root, `dist/teapot-kms_*_${architecture.debian}.deb`));
const test = suite('debian');
const SOCKET = '/run/teapot-kms/main/kms.sock';
const AS_USER = 'runuser -u teapot-kms --';
let machine: Machine;

test.before(async () => {
  machine = await Machine.boot();
  machine.upload(deb!, 'teapot-kms.deb');
});
test.after(() => machine.stop());

const mainPid = (): string => machine.succeed('systemctl show -P MainPID teapot-kms');
/** As kube-apiserver sees the plugin: in mounts that were made once. */
const asMounted = (): string =>
  machine.succeed(
    `nsenter -t $(systemctl show -P MainPID holder) -m -r teapot-kms status --socket /mnt/kms/main/kms.sock`,
  );
/** Waits for another process than `before` that is ready. */
async function restarted(before: string): Promise<void> {
  await until('it runs again', () => mainPid() !== before && machine.run('systemctl is-active teapot-kms').code === 0);
}

test('the package has the files that Debian expects, all of root', () => {
  const lines = execFileSync('dpkg-deb', ['--contents', deb!], { encoding: 'utf8' }).trim().split('\n');
  const files = new Map(lines.map((line) => [line.split(/\s+/)[5]!.slice(1), line] as const));
  for (const path of [
    '/usr/bin/teapot-kms',
    '/usr/lib/teapot-kms/bin/teapot-kms',
    '/usr/lib/teapot-kms/bin/node',
    '/usr/lib/teapot-kms/dist/cli/main.js',
    '/usr/lib/teapot-kms/dist/node_modules/pkcs11js/build/Release/pkcs11.node',
    '/usr/lib/systemd/system/teapot-kms.service',
    '/usr/lib/sysusers.d/teapot-kms.conf',
    '/usr/lib/tmpfiles.d/teapot-kms.conf',
    '/etc/teapot-kms/config.yaml',
    '/usr/share/man/man1/teapot-kms.1.gz',
    '/usr/share/bash-completion/completions/teapot-kms',
    '/usr/share/zsh/vendor-completions/_teapot-kms',
    '/usr/share/fish/vendor_completions.d/teapot-kms.fish',
    '/usr/share/doc/teapot-kms/copyright',
    '/usr/share/doc/teapot-kms/LICENSES.gz',
    '/usr/share/doc/teapot-kms/teapot-kms.cdx.json',
  ]) {
    assert.ok(files.has(path), path);
  }
  for (const line of lines) assert.match(line, /^(drwxr-xr-x|-rw-r--r--|-rwxr-xr-x|lrwxrwxrwx) root\/root /);
});

test('dpkg installs it, makes the user, and starts nothing', () => {
  machine.succeed('dpkg -i /tmp/teapot-kms.deb');
  assert.match(machine.succeed('id teapot-kms'), 'teapot-kms');
  assert.is(machine.succeed('stat -c "%U %a" /run/teapot-kms /var/lib/teapot-kms'), 'teapot-kms 700\nteapot-kms 700');
  assert.match(machine.run('systemctl is-active teapot-kms').output, 'inactive');
  assert.match(machine.succeed('teapot-kms --version'), /^\d+\.\d+\.\d+$/);
});

test('the configuration that comes with it is valid', () => {
  machine.succeed(`${AS_USER} teapot-kms config validate --config /etc/teapot-kms/config.yaml`);
});

test('systemctl enable --now returns when the socket is open', () => {
  machine.succeed(`${AS_USER} teapot-kms keys generate --uri file:/var/lib/teapot-kms/main`);
  machine.succeed('systemctl enable --now teapot-kms');
  machine.succeed(`test -S ${SOCKET}`);
  assert.match(machine.succeed('systemctl show -P StatusText teapot-kms'), 'serving 1 instances');
});

test('status and doctor find nothing wrong', async () => {
  await until('Status is ok', () => machine.run(`teapot-kms status --socket ${SOCKET}`).code === 0);
  machine.succeed(`${AS_USER} teapot-kms doctor --config /etc/teapot-kms/config.yaml`);
});

test('a process that has the directory mounted reaches the plugin after a restart, and after kill -9', async () => {
  machine.succeed(
    'mkdir -p /mnt/kms && systemd-run --unit holder -p BindPaths=/run/teapot-kms:/mnt/kms sleep infinity',
  );
  asMounted();
  machine.succeed('systemctl restart teapot-kms');
  await until('the mounted socket answers', () => asMounted() !== '');
  const before = mainPid();
  machine.succeed(`kill -9 ${before}`);
  await restarted(before);
  await until('the mounted socket answers', () => asMounted() !== '');
});

test('a plugin that stands still is killed and started again', async () => {
  const override = '/run/systemd/system/teapot-kms.service.d';
  machine.succeed(`mkdir -p ${override} && printf "[Service]\\nWatchdogSec=8s\\n" > ${override}/w.conf`);
  machine.succeed('systemctl daemon-reload && systemctl restart teapot-kms');
  const before = mainPid();
  machine.succeed(`kill -STOP ${before}`);
  await restarted(before);
  assert.match(machine.succeed('journalctl -u teapot-kms --no-pager'), 'Watchdog timeout');
  machine.succeed(`rm -r ${override} && systemctl daemon-reload`);
});

test('an upgrade restarts the plugin, and the mounted socket answers', async () => {
  const before = mainPid();
  machine.succeed('dpkg -i /tmp/teapot-kms.deb');
  assert.is.not(mainPid(), before);
  await until('the mounted socket answers', () => asMounted() !== '');
});

test('an upgrade that would refuse the configuration leaves the plugin running and says so', () => {
  const before = mainPid();
  machine.succeed(
    'cp /etc/teapot-kms/config.yaml /tmp/config.yaml && echo "unknown: 1" >> /etc/teapot-kms/config.yaml',
  );
  const { code, output } = machine.run('dpkg -i --force-confold /tmp/teapot-kms.deb');
  assert.is(code, 0, output);
  assert.match(output, 'this version refuses the configuration');
  assert.is(mainPid(), before);
  machine.succeed('cp /tmp/config.yaml /etc/teapot-kms/config.yaml');
});

test('purge says that the keys stay, and keeps them', () => {
  const before = machine.succeed('find /var/lib/teapot-kms/main -type f | sort | xargs sha256sum');
  assert.match(machine.succeed('dpkg -P teapot-kms 2>&1'), '/var/lib/teapot-kms and its user stay');
  assert.is(machine.succeed('find /var/lib/teapot-kms/main -type f | sort | xargs sha256sum'), before);
  assert.is(machine.run('test -e /etc/teapot-kms/config.yaml').code, 1);
  assert.is(machine.run('test -e /usr/lib/teapot-kms').code, 1);
});

const lacking = Machine.missing() ?? (deb === undefined ? 'npm run package' : undefined);
if (lacking === undefined) test.run();
else console.log(`SKIPPED the Debian package on a Debian: ${lacking}`);
