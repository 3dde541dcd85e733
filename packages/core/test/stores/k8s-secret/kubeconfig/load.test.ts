// Kubeconfigs as tools write them, and the rules by which client-go finds and merges them.
import { assertNoSecret, newDirectory, rejectsWithCode } from '@teapot-kms/testing';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadTarget } from '../../../../src/stores/k8s-secret/kubeconfig/load.ts';

/** Writes files below a new directory. */
function write(files: Readonly<Record<string, string | object>>): string {
  const directory = newDirectory();
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, name)), { recursive: true });
    writeFileSync(join(directory, name), typeof content === 'string' ? content : JSON.stringify(content), {
      mode: 0o600,
    });
  }
  return directory;
}

/** A kubeconfig with one context, whose cluster and user have the same name. */
const simple = (name: string, current = name, server = `https://${name}:6443`): object => ({
  clusters: [{ name, cluster: { server } }],
  users: [{ name, user: { tokenFile: 'token' } }],
  contexts: [{ name, context: { cluster: name, user: name } }],
  'current-context': current,
});

const ADMIN_CONF = `apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: Q0E=
    server: https://10.0.0.1:6443
  name: kubernetes
contexts:
- context:
    cluster: kubernetes
    user: kubernetes-admin
  name: kubernetes-admin@kubernetes
current-context: kubernetes-admin@kubernetes
kind: Config
preferences: {}
users:
- name: kubernetes-admin
  user:
    client-certificate-data: Q0VSVA==
    client-key-data: S0VZ
`;

const KIND = ADMIN_CONF.replaceAll('kubernetes-admin@kubernetes', 'kind-mgmt').replace(
  'https://10.0.0.1:6443',
  'https://127.0.0.1:41235',
);

const EKS = `apiVersion: v1
kind: Config
preferences: {}
current-context: arn:aws:eks:eu-west-1:111122223333:cluster/mgmt
clusters:
- name: arn:aws:eks:eu-west-1:111122223333:cluster/mgmt
  cluster:
    server: https://ABCDEF.gr7.eu-west-1.eks.amazonaws.com
    certificate-authority-data: |
      Q0E
      =
contexts:
- name: arn:aws:eks:eu-west-1:111122223333:cluster/mgmt
  context: {cluster: "arn:aws:eks:eu-west-1:111122223333:cluster/mgmt", user: aws, namespace: default}
users:
- name: aws
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1beta1
      command: aws
      args: [--region, eu-west-1, eks, get-token, --cluster-name, mgmt]
      env:
      - {name: AWS_PROFILE, value: mgmt}
      interactiveMode: IfAvailable
      provideClusterInfo: false
`;

for (const [what, text, server, user] of [
  ["kubeadm's admin.conf", ADMIN_CONF, 'https://10.0.0.1:6443', { 'client-key-data': 'S0VZ' }],
  ["kind's", KIND, 'https://127.0.0.1:41235', { 'client-certificate-data': 'Q0VSVA==' }],
  ['with an exec plugin, as for EKS', EKS, 'https://ABCDEF.gr7.eu-west-1.eks.amazonaws.com', { token: undefined }],
] as const) {
  test(`a kubeconfig: ${what}`, async () => {
    const directory = write({ config: text });
    const target = await loadTarget({ kubeconfig: join(directory, 'config') }, {});
    assert.is(target.cluster.value.server, server);
    assert.is(target.cluster.value['certificate-authority-data'], 'Q0E=');
    for (const [field, value] of Object.entries(user)) assert.is(target.user.value[field as 'token'], value);
    assert.match(target.description, join(directory, 'config'));
  });
}

test('the exec plugin of a kubeconfig, with all that is set', async () => {
  const directory = write({ config: EKS });
  const { user } = await loadTarget({ kubeconfig: join(directory, 'config') }, {});
  assert.equal(user.value.exec, {
    apiVersion: 'client.authentication.k8s.io/v1beta1',
    command: 'aws',
    args: ['--region', 'eu-west-1', 'eks', 'get-token', '--cluster-name', 'mgmt'],
    env: [{ name: 'AWS_PROFILE', value: 'mgmt' }],
    interactiveMode: 'IfAvailable',
    provideClusterInfo: false,
  });
});

test('of several files, the first with a current context and the first with an entry win', async () => {
  const second = { ...simple('b'), clusters: [{ name: 'a', cluster: { server: 'https://other' } }] };
  const directory = write({ a: simple('a'), 'sub/b': second });
  const KUBECONFIG = `${directory}/missing:${directory}/a::${directory}/sub/b:${directory}/a`;
  const target = await loadTarget({}, { KUBECONFIG, HOME: '/nowhere' });
  assert.is(target.cluster.value.server, 'https://a:6443');
  assert.is(target.description, `context "a" of ${directory}/a`);
});

test('an entry of the first file hides one of a later file as a whole', async () => {
  const first = { users: [{ name: 'a', user: { token: 'first' } }] };
  const directory = write({ first, second: simple('a') });
  const { user } = await loadTarget({}, { KUBECONFIG: `${directory}/first:${directory}/second` });
  assert.equal([user.value.token, user.value.tokenFile], ['first', undefined]);
});

test('cluster, user and context may come from different files, each with paths of its own', async () => {
  const { clusters, users, contexts } = simple('a') as Record<string, object>;
  const directory = write({ '1/c': { contexts, 'current-context': 'a' }, '2/c': { clusters }, '3/c': { users } });
  const target = await loadTarget({}, { KUBECONFIG: [1, 2, 3].map((n) => `${directory}/${n}/c`).join(':') });
  assert.equal([target.cluster.directory, target.user.directory], [`${directory}/2`, `${directory}/3`]);
});

test('without KUBECONFIG it is ~/.kube/config', async () => {
  const directory = write({ '.kube/config': simple('home') });
  const env = { HOME: directory, KUBECONFIG: '', KUBERNETES_SERVICE_HOST: 'x', KUBERNETES_SERVICE_PORT: '1' };
  assert.is((await loadTarget({}, env)).cluster.value.server, 'https://home:6443');
});

test('a context that is named is taken instead of the current one', async () => {
  const directory = write({ a: simple('a'), b: simple('b') });
  const env = { KUBECONFIG: `${directory}/a:${directory}/b` };
  assert.match((await loadTarget({ context: 'b' }, env)).user.where, 'user "b"');
});

for (const [what, files] of [
  ['without any file', {}],
  ['with an empty one', { '.kube/config': '' }],
  [
    'with one that kubectl has emptied',
    { '.kube/config': 'clusters: null\ncontexts: null\ncurrent-context: ""\nusers: null\n' },
  ],
] as const) {
  test(`${what}, a pod takes its service account`, async () => {
    const env = { HOME: write(files), KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '443' };
    const { cluster, user, description } = await loadTarget({}, env);
    assert.is(cluster.value.server, 'https://[fd00::1]:443');
    assert.is(cluster.value['certificate-authority'], 'ca.crt');
    assert.is(user.value.tokenFile, 'token');
    assert.is(user.directory, '/var/run/secrets/kubernetes.io/serviceaccount');
    assert.is(description, "the pod's service account");
  });
}

test('another server takes the place of that of the kubeconfig', async () => {
  const directory = write({ config: simple('mgmt') });
  const server = 'https://10.0.0.2:6443';
  const { cluster } = await loadTarget({ kubeconfig: join(directory, 'config'), server }, {});
  assert.is(cluster.value.server, server);
});

test('with nothing at all, the error names what was looked for', async () => {
  const { message } = await rejectsWithCode(() => loadTarget({}, { HOME: '/nowhere' }), 'ERR_KMS_INVALID_URI');
  assert.match(message, '/nowhere/.kube/config');
});

test('a kubeconfig that is named must be there, and be a file', async () => {
  const directory = write({});
  execFileSync('mkfifo', [join(directory, 'fifo')]);
  for (const name of ['missing', 'fifo', '.']) {
    const path = join(directory, name);
    const error = await rejectsWithCode(() => loadTarget({ kubeconfig: path }, {}), 'ERR_KMS_STORE_UNAVAILABLE');
    assert.match(error.message, path);
    assert.match(error.remedy!, path);
  }
});

const entry = (change: object): object => ({ ...simple('a'), ...change });
for (const [what, config, expected] of [
  ['no YAML', 'a: [', 'config:1: expected a kubeconfig'],
  ['YAML with a secret in the wrong place', 'users: "hunter2"\n', 'users: expected a list'],
  ['YAML with text after a secret', 'token: "hunter2" "more"\n', 'expected a kubeconfig'],
  ['an alias', 'a: &x hunter2\nb: *x\n', 'YAML without aliases'],
  ['another kind', { kind: 'Secret' }, 'kind: expected "Config"'],
  ['a name twice', entry({ users: [{ name: 'a' }, { name: 'a' }] }), 'users: expected each name once'],
  [
    'a token that is a number',
    entry({ users: [{ name: 'a', user: { token: 4711 } }] }),
    'users[0].user.token: expected a string',
  ],
  [
    'data that is no base64',
    entry({ users: [{ name: 'a', user: { 'client-key-data': 'hunter2' } }] }),
    'users[0].user.client-key-data: expected base64',
  ],
  ['a current context that is not there', entry({ 'current-context': 'b' }), 'no context "b"'],
  ['a context without its cluster', entry({ clusters: [] }), 'no cluster "a"'],
  [
    'a context without a user',
    entry({ contexts: [{ name: 'a', context: { cluster: 'a' } }] }),
    'no user in context "a"',
  ],
  ['an empty user', entry({ users: [{ name: 'a' }] }), 'user "a" is empty'],
  ['no current context', entry({ 'current-context': null }), 'no current-context'],
] as const) {
  test(`refused, with file and field: ${what}`, async () => {
    const directory = write({ config });
    const load = () => loadTarget({ kubeconfig: join(directory, 'config') }, {});
    const error = await rejectsWithCode(load, 'ERR_KMS_INVALID_URI');
    assert.match(error.message, expected);
    assert.match(error.message, join(directory, 'config'));
    for (const secret of ['hunter2', '4711']) assertNoSecret(error, Buffer.from(secret));
    assert.ok(error.remedy);
  });
}

for (const [field, user] of [
  ['a token', { token: 'hunter2' }],
  ['a client key', { 'client-certificate-data': 'aHVudGVyMg==', 'client-key-data': 'aHVudGVyMg==' }],
  ['a password', { username: 'a', password: 'hunter2' }],
] as const) {
  test(`a kubeconfig with ${field} that everyone can read is refused, and the error has the command and no secret`, async () => {
    const path = join(newDirectory(), 'config');
    writeFileSync(path, JSON.stringify({ ...NAMED, users: [{ name: 'u', user }] }), { mode: 0o644 });
    const load = () => loadTarget({ kubeconfig: path }, {});
    const { message, remedy } = await rejectsWithCode(load, 'ERR_KMS_STORE_UNAVAILABLE');
    assert.match(message, `${path} contains a secret, and everyone can read it (mode 0644)`);
    assert.not.match(message, /hunter2|aHVudGVyMg/);
    assert.match(remedy ?? '', `chmod o= ${path}`);
    chmodSync(path, 0o640);
    await load();
  });
}

test('a kubeconfig that only names files may be read by everyone', async () => {
  const path = join(newDirectory(), 'config');
  writeFileSync(path, JSON.stringify({ ...NAMED, users: [{ name: 'u', user: { tokenFile: 'token' } }] }), {
    mode: 0o644,
  });
  await loadTarget({ kubeconfig: path }, {});
});

/** What a kubeconfig needs besides its users. */
const NAMED = {
  clusters: [{ name: 'c', cluster: { server: 'https://127.0.0.1:1' } }],
  contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
  'current-context': 'x',
};

test.run();
