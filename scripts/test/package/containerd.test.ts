/** The OCI image under a real containerd and runc. A part of `npm run test:full`, after `npm run package -- image`. */
import { until } from '@teapot-kms/testing';
import { cacheDirectory, Daemon } from '@teapot-kms/testing/daemons';
import { execFileSync, spawnSync } from 'node:child_process';
import { chownSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { IMAGE_NAME } from '../../package/image/oci.ts';
import { architecture, root } from '../../package/release.ts';

const [archive = ''] = globSync(join(root, `dist/teapot-kms-*-image-${architecture.debian}.tar`));
const programs = join(cacheDirectory, 'containerd');
const test = suite('containerd');
const scratch = mkdtempSync(join(tmpdir(), 'teapot-containerd-'));
const cgroup = `teapot-${process.pid}`;
const SOCKET = '/run/teapot-kms/main/kms.sock';
let daemon: Daemon;

/** Runs the client of containerd, which shares processes and pipes in `/run` with it. */
function ctr(...args: string[]) {
  const command = [join(programs, 'ctr'), '--address', join(scratch, 'containerd.sock'), ...args];
  const [child = ''] = readFileSync(`/proc/${daemon.pid}/task/${daemon.pid}/children`, 'latin1').split(' ');
  return spawnSync('nsenter', ['--target', child, '--mount', '--pid', '--', ...command], { encoding: 'utf8' });
}
/** Runs a container of the image with a read-only root, and the directories that manifests mount. */
function run(name: string, options: readonly string[], ...command: string[]) {
  const mount = (from: string, to: string): string[] => [
    '--mount',
    `type=bind,src=${join(scratch, from)},dst=${to},options=rbind:rw`,
  ];
  const mounts = [
    ...mount('lib', '/var/lib/teapot-kms'),
    ...mount('run', '/run/teapot-kms'),
    ...mount('etc', '/etc/teapot-kms'),
  ];
  const container = ['--snapshotter', 'native', '--read-only', '--cgroup', `/${cgroup}/${name}`, ...mounts];
  return ctr('run', ...options, ...container, IMAGE_NAME, name, ...command);
}

test.before(async () => {
  execFileSync('bash', [join(root, 'scripts/debian-programs.sh'), 'containerd', 'containerd', 'runc'], {
    stdio: 'inherit',
  });
  for (const name of ['etc', 'run', 'lib']) {
    mkdirSync(join(scratch, name), { mode: 0o700 });
    chownSync(join(scratch, name), 65_532, 65_532);
  }
  writeFileSync(
    join(scratch, 'etc/config.yaml'),
    `version: 1\nhttp: false\ninstances:\n  - name: main\n    socket: ${SOCKET}\n    keys: { uri: 'file:/var/lib/teapot-kms/main' }\n`,
    { mode: 0o644 },
  );
  const args = [join(import.meta.dirname, 'containerd.sh'), programs, scratch];
  daemon = new Daemon({ name: 'containerd', command: 'bash', args, logFile: join(scratch, 'log') });
  await until('containerd answers', () => {
    daemon.checkRunning();
    return ctr('version').status === 0;
  });
});
test.after(async () => {
  await daemon.kill();
  rmSync(scratch, { recursive: true, force: true });
  const cgroups = { cwd: '/sys/fs/cgroup' };
  await until('all containers have ended', () => {
    for (const path of globSync([`*/${cgroup}/**/`, `${cgroup}/**/`], cgroups)
      .sort()
      .reverse())
      rmdirSync(join(cgroups.cwd, path));
    return true;
  });
});

test('containerd imports the archive under its name', () => {
  const { status, stderr } = ctr('images', 'import', '--snapshotter', 'native', archive);
  assert.is(status, 0, stderr);
  assert.match(ctr('images', 'ls', '-q').stdout, new RegExp(`^${IMAGE_NAME}$`, 'm'));
});

test('a container makes a key and serves with it; exec finds the command, and SIGTERM ends it cleanly', async () => {
  const made = run('generate', ['--rm'], 'teapot-kms', 'keys', 'generate', '--uri', 'file:/var/lib/teapot-kms/main');
  assert.is(made.status, 0, made.stderr);
  const served = run('serve', ['--detach']);
  assert.is(served.status, 0, served.stderr);
  let tries = 0;
  await until('Status is ok', () => {
    const id = `status-${++tries}`;
    return ctr('tasks', 'exec', '--exec-id', id, 'serve', 'teapot-kms', 'status', '--socket', SOCKET).status === 0;
  });
  ctr('tasks', 'kill', '--signal', 'SIGTERM', 'serve');
  const ended = await until('it has ended', () => /^serve\s+\d+\s+STOPPED/m.test(ctr('tasks', 'ls').stdout));
  assert.ok(ended);
  assert.is(ctr('tasks', 'delete', 'serve').status, 0);
});

if (archive === '') console.log('SKIPPED the image under containerd: npm run package -- image');
else if (process.getuid?.() !== 0) console.log('SKIPPED the image under containerd: run the tests as root');
else test.run();
