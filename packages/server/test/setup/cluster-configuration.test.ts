import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { withEncryption, withoutEncryption } from '../../src/setup/cluster-configuration.ts';
import { unifiedDiff } from '../../src/setup/unified-diff.ts';

const access = { file: '/etc/kubernetes/teapot-kms/encryption-config.yaml', socketDirectory: '/run/teapot-kms' };

const rest = `caCertificateValidityPeriod: 87600h0m0s
certificatesDir: /etc/kubernetes/pki
clusterName: kubernetes
controllerManager: {}
dns: {}
etcd:
  local:
    dataDir: /var/lib/etcd
imageRepository: registry.k8s.io
kind: ClusterConfiguration
kubernetesVersion: v1.37.2
networking:
  dnsDomain: cluster.local
  serviceSubnet: 10.96.0.0/12
proxy: {}
scheduler: {}
`;
const v1beta3 = `apiServer:\n  extraArgs:\n    authorization-mode: Node,RBAC\n  timeoutForControlPlane: 4m0s\napiVersion: kubeadm.k8s.io/v1beta3\n${rest}`;
const v1beta4 = `apiServer: {}\napiVersion: kubeadm.k8s.io/v1beta4\n${rest}`;
const withArgs = `apiServer:\n  extraArgs:\n  - name: audit-log-path\n    value: /var/log/audit.log\n  - name: v\n    value: "2"\napiVersion: kubeadm.k8s.io/v1beta4\n${rest}`;

const changed = (text: string): string[] =>
  unifiedDiff('c', text, withEncryption(text, access))
    .split('\n')
    .slice(2)
    .filter((line) => /^[-+]/.test(line));

const volumes = [
  '+  extraVolumes:',
  '+  - name: teapot-kms-config',
  '+    hostPath: /etc/kubernetes/teapot-kms',
  '+    mountPath: /etc/kubernetes/teapot-kms',
  '+    readOnly: true',
  '+    pathType: Directory',
  '+  - name: teapot-kms-socket',
  '+    hostPath: /run/teapot-kms',
  '+    mountPath: /run/teapot-kms',
  '+    readOnly: true',
  '+    pathType: DirectoryOrCreate',
];

test('v1beta3 gets flags as a map of texts', () => {
  assert.equal(
    changed(v1beta3).toSorted(),
    [
      '+    encryption-provider-config-automatic-reload: "true"',
      '+    encryption-provider-config: /etc/kubernetes/teapot-kms/encryption-config.yaml',
      ...volumes,
    ].toSorted(),
  );
});

test('v1beta4 gets flags as a list, and an empty apiServer becomes a block', () => {
  assert.equal(changed(v1beta4), [
    '-apiServer: {}',
    '+apiServer:',
    '+  extraArgs:',
    '+  - name: encryption-provider-config',
    '+    value: /etc/kubernetes/teapot-kms/encryption-config.yaml',
    '+  - name: encryption-provider-config-automatic-reload',
    '+    value: "true"',
    ...volumes,
  ]);
});

test('flags that are there stay, in their order', () => {
  assert.equal(changed(withArgs), [
    '+  - name: encryption-provider-config',
    '+    value: /etc/kubernetes/teapot-kms/encryption-config.yaml',
    '+  - name: encryption-provider-config-automatic-reload',
    '+    value: "true"',
    ...volumes,
  ]);
});

for (const [name, text] of Object.entries({ v1beta3, withArgs })) {
  test(`${name}: a second change changes no byte, and the way back gives the first text`, () => {
    const once = withEncryption(text, access);
    assert.is(withEncryption(once, access), once);
    assert.is(withoutEncryption(once, false), text);
  });
}

test('with other providers left, only the socket goes', () => {
  const left = withoutEncryption(withEncryption(v1beta4, access), true);
  assert.match(left, 'encryption-provider-config');
  assert.match(left, 'teapot-kms-config');
  assert.not.match(left, 'teapot-kms-socket');
});

test('a flag with another file is changed, also where it is given twice', () => {
  const twice = withArgs.replace(
    '  - name: v\n',
    '  - name: encryption-provider-config\n    value: /a\n  - name: encryption-provider-config\n    value: /b\n  - name: v\n',
  );
  assert.is(withEncryption(twice, access), withEncryption(withArgs, access));
});

test.run();
