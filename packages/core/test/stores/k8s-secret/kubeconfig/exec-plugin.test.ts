// Exec credential plugins, run for real; only the time is not.
import { assertNoSecret, FakeClock, newDirectory, rejectsWithCode, until } from '@teapot-kms/testing';
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { pluginCall, runPlugin } from '../../../../src/stores/k8s-secret/kubeconfig/exec-plugin.ts';
import type { PluginContext } from '../../../../src/stores/k8s-secret/kubeconfig/exec-plugin.ts';
import { kubeconfigSchema } from '../../../../src/stores/k8s-secret/kubeconfig/schema.ts';
import { patient } from '../../../support/context.ts';

const V1 = 'client.authentication.k8s.io/v1';
const V1BETA1 = 'client.authentication.k8s.io/v1beta1';
const CA = Buffer.from('the CA');

/** The call of a plugin that is a shell script in the kubeconfig's directory. */
function callOf(script: string, exec: object = {}, cluster: object = {}, directory = newDirectory()) {
  writeFileSync(join(directory, 'plugin'), `#!/bin/sh\n${script}\n`, { mode: 0o700 });
  const config = kubeconfigSchema.parse({
    clusters: [{ name: 'c', cluster: { server: 'https://10.0.0.1:6443', ...cluster } }],
    users: [{ name: 'u', user: { exec: { apiVersion: V1, command: './plugin', interactiveMode: 'Never', ...exec } } }],
  });
  const value = config.users[0]!.user!;
  const user = { where: 'FILE: user "u"', directory, value };
  return pluginCall(user, value.exec!, config.clusters[0]!.cluster!, CA);
}

const contextOf = (given: Partial<PluginContext> = {}): PluginContext => {
  const { PATH } = process.env;
  return { clock: new FakeClock(), env: { PATH }, signal: patient.signal, ...given };
};

/** A script that prints a credential. */
const prints = (status: object, apiVersion = V1): string =>
  `echo '${JSON.stringify({ kind: 'ExecCredential', apiVersion, status })}'`;

test('a token, and when it expires', async () => {
  const script = prints({ token: 'minted', expirationTimestamp: '2030-01-02T03:04:05Z' });
  const { token, expiresAt } = await runPlugin(callOf(script), contextOf());
  assert.equal([token, expiresAt], ['minted', Date.UTC(2030, 0, 2, 3, 4, 5)]);
});

test('v1beta1 needs no interactiveMode', async () => {
  const exec = { apiVersion: V1BETA1, interactiveMode: undefined };
  assert.is((await runPlugin(callOf(prints({ token: 't' }, V1BETA1), exec), contextOf())).token, 't');
});

test('it gets its arguments, our environment with its own variables above, and no terminal', async () => {
  const directory = newDirectory();
  const script = `{ echo "$1|$2|$OURS|$BOTH|$THEIRS"; cat; [ -t 0 ] || (: </dev/tty) 2>/dev/null || echo no-tty; } >${directory}/seen`;
  const exec = {
    args: ['a b', '$c'],
    env: [
      { name: 'THEIRS', value: '1' },
      { name: 'BOTH', value: 'theirs' },
    ],
  };
  const { PATH } = process.env;
  const env = { PATH, OURS: 'x', BOTH: 'ours' };
  await runPlugin(callOf(`${script}\n${prints({ token: 't' })}`, exec), contextOf({ env }));
  assert.is(readFileSync(join(directory, 'seen'), 'utf8'), 'a b|$c|x|theirs|1\nno-tty\n');
});

test('KUBERNETES_EXEC_INFO has the cluster where it is asked for', () => {
  const cluster = {
    'tls-server-name': 'api.example',
    'proxy-url': 'http://proxy',
    extensions: [
      { name: 'other', extension: 1 },
      { name: 'client.authentication.k8s.io/exec', extension: { audience: 'x' } },
    ],
  };
  assert.equal(JSON.parse(callOf('', { provideClusterInfo: true }, cluster).info), {
    kind: 'ExecCredential',
    apiVersion: V1,
    spec: {
      cluster: {
        server: 'https://10.0.0.1:6443',
        'tls-server-name': 'api.example',
        'certificate-authority-data': CA.toString('base64'),
        'proxy-url': 'http://proxy',
        config: { audience: 'x' },
      },
      interactive: false,
    },
  });
  const without = { kind: 'ExecCredential', apiVersion: V1, spec: { interactive: false } };
  assert.equal(JSON.parse(callOf('').info), without);
});

test('a command without a slash is found by PATH, one with a slash beside the kubeconfig', () => {
  assert.is(callOf('', { command: 'aws' }).command, 'aws');
  const directory = newDirectory();
  assert.is(callOf('', { command: './bin/x' }, {}, directory).command, join(directory, 'bin/x'));
  assert.is(callOf('', { command: '/usr/bin/x' }).command, '/usr/bin/x');
});

test('a plugin that hangs is killed with its children after 30 s', async () => {
  const directory = newDirectory();
  const clock = new FakeClock();
  const call = callOf(`sleep 1000 & echo $! >${directory}/pid; wait`);
  const running = rejectsWithCode(() => runPlugin(call, contextOf({ clock })), 'ERR_KMS_STORE_UNAVAILABLE');
  const pid = await until(
    'its child runs',
    () => Number(existsSync(join(directory, 'pid')) && readFileSync(join(directory, 'pid'))) || undefined,
  );
  await clock.advance(30_000);
  assert.match((await running).message, 'did not end within 30 s');
  await until('its child is dead', () => isDead(pid));
});

test('a plugin that runs while the store closes is killed', async () => {
  const closing = new AbortController();
  const directory = newDirectory();
  const call = callOf(`echo $$ >${directory}/pid; sleep 1000`);
  const running = rejectsWithCode(() => runPlugin(call, contextOf({ signal: closing.signal })), 'ERR_KMS_CANCELLED');
  const pid = await until(
    'it runs',
    () => Number(existsSync(join(directory, 'pid')) && readFileSync(join(directory, 'pid'))) || undefined,
  );
  closing.abort();
  await running;
  await until('it is dead', () => isDead(pid));
});

/** A plugin that writes its process id and then hangs. */
function hangingPlugin(): string {
  const path = join(newDirectory(), 'plugin');
  writeFileSync(path, '#!/bin/sh\necho $$ >"$0.new"; mv "$0.new" "$0.pid"; exec sleep 1000\n', { mode: 0o700 });
  return path;
}

const OWNER = ['--conditions=teapot-source', join(import.meta.dirname, '../../../support/plugin-owner.ts')];

for (const [how, signal] of [
  ['exit', undefined],
  ['wait', 'SIGINT'],
  ['wait', 'SIGTERM'],
  ['wait', 'SIGHUP'],
] as const) {
  test(`a plugin does not outlive a process that ends by ${signal ?? how}`, async () => {
    const plugin = hangingPlugin();
    const owner = spawn(process.execPath, [...OWNER, plugin, how], { stdio: 'inherit' });
    const ended = new Promise((resolve) => owner.on('exit', (code, killedBy) => resolve(killedBy ?? code)));
    const pid = await until('it runs', () => existsSync(`${plugin}.pid`) && Number(readFileSync(`${plugin}.pid`)));
    if (signal) owner.kill(signal);
    assert.is(await ended, signal ?? 0);
    await until('it is dead', () => isDead(pid));
  });
}

test('nothing listens for the end of the process once no plugin runs', async () => {
  const count = () => ['exit', 'SIGINT', 'SIGTERM', 'SIGHUP'].map((name) => process.listenerCount(name));
  const before = count();
  await Promise.all([1, 2, 3].map(() => runPlugin(callOf(prints({ token: 't' })), contextOf())));
  assert.equal(count(), before);
});

test('without file descriptors, the failure is an answer and ends nobody', () => {
  const node = [process.execPath, ...OWNER, '/bin/true', 'no-descriptors'];
  const printed = execFileSync('sh', ['-c', 'ulimit -n 64; exec "$@"', 'sh', ...node], { encoding: 'utf8' });
  assert.is(printed, 'ERR_KMS_STORE_UNAVAILABLE');
});

test('arguments that no process can get: the failure does not repeat them', async () => {
  const call = callOf('', { env: [{ name: 'SECRET', value: 'hunter2\0' }] });
  const error = await rejectsWithCode(() => runPlugin(call, contextOf()), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.match(error.message, 'cannot be run (ERR_INVALID_ARG_VALUE)');
  assertNoSecret(error, Buffer.from('hunter2'));
});

test('a helper that a plugin leaves behind, and that holds stderr, holds up nobody', async () => {
  const directory = newDirectory();
  const call = callOf(`sleep 1000 >/dev/null & echo $! >${directory}/pid\n${prints({ token: 't' })}`);
  assert.is((await runPlugin(call, contextOf())).token, 't');
  process.kill(Number(readFileSync(join(directory, 'pid'))));
});

test('secrets are hidden in all of a long text, the longest first, and its end is shown', async () => {
  const env = [
    { name: 'SHORT', value: 'abcd' },
    { name: 'LONG', value: 'abcd efgh' },
    { name: 'EDGE', value: 'ijkl '.repeat(40).trim() },
  ];
  const script = `{ echo "start $EDGE"; yes ' ' | head -c 3900; echo "$LONG $SHORT"; yes word | head -20; echo the end; } >&2; exit 1`;
  const { message } = await rejectsWithCode(
    () => runPlugin(callOf(script, { env }), contextOf()),
    'ERR_KMS_STORE_UNAVAILABLE',
  );
  assert.match(message, /start \[hidden\] \[hidden\] \[hidden\] (word )+the end$/);
  const long = callOf(`{ echo start; yes word | head -1000; echo the end; } >&2; exit 1`);
  const { message: shown } = await rejectsWithCode(() => runPlugin(long, contextOf()), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.match(shown, /the end$/);
  assert.not.match(shown, 'start');
});

/** Whether a process has ended; nobody may have waited for it yet. */
function isDead(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.startsWith('Z');
  } catch {
    return true;
  }
}

test('a command that is not there: the message names it, the remedy is the install hint', async () => {
  const call = callOf('', { command: 'no-such-plugin', installHint: 'brew install no-such-plugin\u001b[31m' });
  const error = await rejectsWithCode(() => runPlugin(call, contextOf()), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.match(error.message, 'no-such-plugin cannot be run (ENOENT)');
  assert.is(error.remedy, 'brew install no-such-plugin [31m');
});

for (const [what, script, message] of [
  ['a failure', 'echo "not logged in: run x login" >&2; exit 3', 'ended with exit code 3: not logged in: run x login'],
  ['a signal', 'kill -9 $$', 'ended with SIGKILL'],
  ['text', 'echo "please log in"', 'printed something else than an ExecCredential in JSON: please log in'],
  ['nothing', '', 'JSON: nothing'],
  ['half of its JSON', `echo '{"kind":"ExecCredential","status":{"token":"hunter2'`, 'than an ExecCredential in JSON'],
  ['null', 'echo null', 'did not print an object of kind ExecCredential'],
  ['another version', prints({ token: 'hunter2' }, V1BETA1), `apiVersion ${V1}`],
  ['no status', `echo '{"kind":"ExecCredential","apiVersion":"${V1}"}'`, 'neither a token nor a certificate'],
  ['an empty status', prints({}), 'neither a token nor a certificate'],
  ['a number as a key', prints({ token: 'hunter2', clientKeyData: 4711 }), 'a field that is not a string'],
  ['a certificate only', prints({ clientCertificateData: 'x' }), 'expected a certificate and its private key'],
  ['a key only', prints({ clientKeyData: 'hunter2' }), 'expected a certificate and its private key'],
  ['a token that is none', prints({ token: 'hunter2 hunter2' }), 'expected a bearer token'],
  [
    'a time that is none',
    prints({ token: 'hunter2', expirationTimestamp: 'soon' }),
    'expirationTimestamp that is no time',
  ],
  ['a variable of its own', 'echo "bad password $SECRET" >&2; exit 1', 'bad password [hidden]'],
  ['a token in a text', 'echo "token: eyJhbGciOiJSUzI1NiJ9.eyJzdWIi.c2ln"', 'token: [hidden]'],
  ['without an end', 'yes x', 'printed more than'],
] as const) {
  test(`a plugin that prints ${what} is said to, without secrets`, async () => {
    const call = callOf(script, { env: [{ name: 'SECRET', value: 'hunter2' }] });
    const error = await rejectsWithCode(() => runPlugin(call, contextOf()), 'ERR_KMS_STORE_UNAVAILABLE');
    assert.match(error.message, message);
    assert.match(error.message, 'FILE: user "u": exec: command');
    assertNoSecret(error, Buffer.from('hunter2'));
    assertNoSecret(error, Buffer.from('eyJhbGci'));
    assert.ok(error.message.length < 500);
  });
}

for (const [what, exec, message] of [
  ['no command', { command: '' }, 'expected a command'],
  ['v1alpha1', { apiVersion: 'client.authentication.k8s.io/v1alpha1' }, 'expected apiVersion'],
  ['no version', { apiVersion: null }, 'expected apiVersion'],
  ['interactiveMode Always', { interactiveMode: 'Always' }, 'has no terminal'],
  ['v1 without interactiveMode', { interactiveMode: null }, 'expected interactiveMode'],
  ['a variable without a name', { env: [{ value: 'x' }] }, 'expected a name'],
] as const) {
  test(`refused by name: ${what}`, async () => {
    const error = await rejectsWithCode(() => callOf('', exec), 'ERR_KMS_INVALID_URI');
    assert.match(error.message, 'FILE: user "u": exec: ');
    assert.match(error.message, message);
  });
}

test.run();
