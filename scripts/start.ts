/**
 * `npm start`: the plugin with file keys, made on first start. It calls the plugin as
 * kube-apiserver does, prints the answers and the EncryptionConfiguration for kube-apiserver, and keeps serving.
 *
 * usage: start.ts [DIRECTORY] [PORT]      (default: teapot-kms-demo-UID in the directory for temporary files, and 8089 for health and metrics)
 */
import { KmsClient, keyIdHash } from '@teapot-kms/server';
import { launcher } from '@teapot-kms/testing/daemons';
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

// Not in the checkout: root may run this in another user's.
const temporary = join(tmpdir(), `teapot-kms-demo-${String(process.getuid?.())}`);
const [, , directoryArgument = temporary, port = '8089'] = process.argv;
const directory = resolve(directoryArgument);
const keys = `file:${join(directory, 'keys')}`;
const config = join(directory, 'config.yaml');
const socket = join(directory, 'run/kms.sock');
const log = join(directory, 'plugin.log');

function teapot(...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(launcher(), args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`teapot-kms ${args.join(' ')}: ${stderr}`);
  return stdout;
}

function step(text: string): void {
  console.log(`\n${text}`);
}

mkdirSync(directory, { recursive: true, mode: 0o700 });
if (existsSync(join(directory, 'keys/keyset.yaml'))) step(`1. The keyset of an earlier start is in ${directory}/keys`);
else step(`1. teapot-kms keys generate --uri ${keys}\n${teapot('keys', 'generate', '--uri', keys)}`);

if (!existsSync(config)) {
  writeFileSync(
    config,
    `version: 1
http: { port: ${port} }
stateDirectory: ${JSON.stringify(join(directory, 'state'))}
instances:
  - name: demo
    socket: ${JSON.stringify(socket)}
    keys: { uri: ${JSON.stringify(keys)} }
`,
    { mode: 0o600 },
  );
}
step(`2. teapot-kms serve --config ${config}   (its log: ${log})`);
const logFile = openSync(log, 'a', 0o600);
// In a process group of its own: a Ctrl-C would reach it twice, and the second one means "at once".
const plugin = spawn(launcher(), ['serve', '--config', config], {
  stdio: ['ignore', 'ignore', logFile],
  detached: true,
});
plugin.on('exit', (code) => {
  if (code !== 0) console.error(`the plugin ended with exit code ${String(code)}; see ${log}`);
  process.exit(code ?? 1);
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => plugin.kill('SIGTERM'));

const client = new KmsClient(socket);
const status = await retry(() => client.status());
step(`3. What kube-apiserver does at its start, through ${socket}
   Status   healthz=${status.healthz} version=${status.version} key_id=${status.keyId}
            (${keyIdHash(status.keyId)} in its metrics)`);
const seed = randomBytes(32);
const sealed = await client.encrypt(seed, randomUUID());
console.log(
  `   Encrypt  a 32-byte seed: ${String(sealed.ciphertext.length)} bytes of ciphertext, key_id=${sealed.keyId}`,
);
const opened = await client.decrypt(sealed.ciphertext, sealed.keyId, randomUUID());
if (!opened.equals(seed)) throw new Error('Decrypt gave back something else');
console.log(`   Decrypt  gave the same ${String(opened.length)} bytes back`);
sealed.ciphertext[sealed.ciphertext.length - 1]! ^= 1;
const refusal = await client.decrypt(sealed.ciphertext, sealed.keyId, randomUUID()).then(
  () => {
    throw new Error('a changed ciphertext was opened');
  },
  (error: unknown) => (error as Error).message,
);
console.log(`   Decrypt  of a ciphertext with one bit flipped: ${refusal}`);
client.close();

step(`4. Give this to kube-apiserver (--encryption-provider-config):

${teapot('config', 'encryption-configuration', '--config', config)}
   socket   unix://${socket}
   health   http://127.0.0.1:${port}/readyz?verbose    metrics http://127.0.0.1:${port}/metrics

Serving until Ctrl-C. Delete ${directory} to start anew.`);

async function retry<T>(fn: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await fn();
    } catch (error) {
      if (attempt === 50) throw error;
      await sleep(100);
    }
  }
}
