import { KmsError } from '@teapot-kms/core';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parse } from 'yaml';
import { flagsOf, withEncryption, withoutEncryption } from '../../src/setup/api-server-pod.ts';
import { unifiedDiff } from '../../src/setup/unified-diff.ts';

const access = { file: '/etc/kubernetes/teapot-kms/encryption-config.yaml', socketDirectory: '/run/teapot-kms' };
const directory = new URL('./manifests/', import.meta.url);
const manifests = new Map(
  readdirSync(directory).map((name) => [name, readFileSync(new URL(name, directory), 'utf8')] as const),
);
const newest = manifests.get('v1.37.2.yaml')!;
const change = (text: string): string => withEncryption(text, 'kube-apiserver.yaml', access);
const refused = (text: string, message: RegExp): void => {
  assert.throws(
    () => change(text),
    (error: unknown) =>
      error instanceof KmsError && error.code === 'ERR_KMS_INVALID_REQUEST' && message.test(error.message),
  );
};

for (const [name, text] of manifests) {
  test(`kubeadm's manifest ${name} gets two flags, two mounts and two volumes, and nothing else changes`, () => {
    const lines = unifiedDiff('m', text, change(text))
      .split('\n')
      .slice(2)
      .filter((line) => /^[-+]/.test(line));
    assert.equal(lines, [
      '+    - --encryption-provider-config=/etc/kubernetes/teapot-kms/encryption-config.yaml',
      '+    - --encryption-provider-config-automatic-reload=true',
      '+    - mountPath: /etc/kubernetes/teapot-kms',
      '+      name: teapot-kms-config',
      '+      readOnly: true',
      '+    - mountPath: /run/teapot-kms',
      '+      name: teapot-kms-socket',
      '+      readOnly: true',
      '+  - hostPath:',
      '+      path: /etc/kubernetes/teapot-kms',
      '+      type: Directory',
      '+    name: teapot-kms-config',
      '+  - hostPath:',
      '+      path: /run/teapot-kms',
      '+      type: DirectoryOrCreate',
      '+    name: teapot-kms-socket',
    ]);
  });

  test(`${name}: a second change changes no byte, and the way back gives the first text`, () => {
    assert.is(change(change(text)), change(text));
    assert.is(withoutEncryption(change(text), 'm', false), text);
  });
}

test('flags stand where kubeadm sorts them, volumes too', () => {
  const flags = [...flagsOf(change(newest), 'm').keys()];
  assert.equal(flags, flags.toSorted());
  const { spec } = parse(change(newest)) as { spec: { volumes: { name: string }[] } };
  const names = spec.volumes.map(({ name }) => name);
  assert.equal(names, names.toSorted());
});

test('a flag with another value is changed, and its old value goes', () => {
  const other = newest.replace(
    '    - --etcd-cafile',
    '    - --encryption-provider-config=/etc/enc.yaml\n    - --etcd-cafile',
  );
  assert.is(change(other), change(newest));
});

test("an operator's comments, order, quotes and indentation stay", () => {
  const own = `# ours
apiVersion: v1
kind: Pod
metadata: {name: kube-apiserver, namespace: kube-system}
spec:
    containers:
        -   name: kube-apiserver
            command:
                - kube-apiserver
                - '--v=2' # more than usual
                - --allow-privileged=true
            image: "registry.example/kube-apiserver:v1.37.2"

    hostNetwork: true
`;
  const changed = change(own);
  for (const line of [
    '# ours',
    "- '--v=2' # more than usual",
    'image: "registry.example/kube-apiserver:v1.37.2"',
    '{name: kube-apiserver, namespace: kube-system}',
  ])
    assert.match(changed, line);
  assert.ok(changed.indexOf('--allow-privileged') < changed.indexOf('--encryption-provider-config='), changed);
  assert.equal(flagsOf(changed, 'm').get('encryption-provider-config-automatic-reload'), 'true');
});

test('a directory that is mounted already is mounted once', () => {
  const mounted = newest
    .replace('    volumeMounts:\n', '    volumeMounts:\n    - mountPath: /run/teapot-kms\n      name: kms\n')
    .replace('  volumes:\n', '  volumes:\n  - hostPath:\n      path: /run/teapot-kms\n    name: kms\n');
  assert.is(change(mounted).match(/mountPath: \/run\/teapot-kms$/gm)?.length, 1);
});

test('something else at the place of a mount is refused', () => {
  refused(
    newest
      .replace('    volumeMounts:\n', '    volumeMounts:\n    - mountPath: /run/teapot-kms\n      name: kms\n')
      .replace('  volumes:\n', '  volumes:\n  - emptyDir: {}\n    name: kms\n'),
    /something other than the host's \/run\/teapot-kms/,
  );
});

test('with other providers left, only the socket goes', () => {
  const left = withoutEncryption(change(newest), 'm', true);
  assert.is(flagsOf(left, 'm').get('encryption-provider-config'), access.file);
  assert.not.match(left, 'teapot-kms-socket');
});

test('what is no manifest of a kube-apiserver is refused, without a piece of it', () => {
  refused('kind: Pod\nspec: {containers: [{name: etcd}]}\n', /expected a container kube-apiserver/);
  refused('kind: Service\n', /expected a Pod/);
  refused('a: &x 1\nb: *x\n', /aliases/);
  refused('secret: [\n', /^kube-apiserver.yaml:\d+: expected YAML$/);
  refused(newest.replace('  - command:', '  - args:'), /expected kube-apiserver's flags in "command"/);
});

test.run();
