// Starts a plugin whose crypto pool does the work, and encrypts messages that go there. usage: seal-in-pool.ts LAUNCHER
import { KmsClient } from '@teapot-kms/server';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from '@teapot-kms/testing';

const launcher = process.argv[2]!;
const directory = mkdtempSync(join(tmpdir(), 'teapot-pool-'));
const socket = join(directory, 'kms.sock');
execFileSync(launcher, ['keys', 'generate', '--uri', `file:${directory}/keys`]);
writeFileSync(
  join(directory, 'config.yaml'),
  `version: 1
http: false
crypto: { engine: pool }
stateDirectory: ${directory}/state
instances:
  - name: main
    socket: ${socket}
    keys: { uri: "file:${directory}/keys" }
`,
);
const plugin = spawn(launcher, ['serve', '--config', join(directory, 'config.yaml')], { stdio: 'inherit' });
try {
  await until('it listens', () => existsSync(socket));
  const client = new KmsClient(socket, 60_000);
  const plaintext = Buffer.alloc(40_000, 'x');
  const tasks = `/proc/${String(plugin.pid)}/task`;
  // Node names the thread of a worker so.
  const hasWorker = (): boolean =>
    readdirSync(tasks).some((id) => readFileSync(`${tasks}/${id}/comm`, 'utf8').startsWith('WorkerThread'));
  if (hasWorker()) throw new Error('a thread was started before there was work for it');
  // Few that arrive in one turn are done in the main thread, so how many it takes depends on the machine.
  await until('a thread is started', async () => {
    const sealed = await Promise.all(Array.from({ length: 32 }, () => client.encryptV1(plaintext)));
    const opened = await Promise.all(sealed.map((one) => client.decryptV1(one)));
    if (!opened.every((one) => one.equals(plaintext))) throw new Error('another plaintext');
    return hasWorker();
  });
  client.close();
} finally {
  plugin.kill('SIGTERM');
  await once(plugin, 'exit');
  rmSync(directory, { recursive: true, force: true });
}
if (plugin.exitCode !== 0) throw new Error(`the plugin ended with ${String(plugin.exitCode)}`);
