/**
 * docs/guides: what can run here is run, what cannot says so, and each YAML block is one that its reader takes: the plugin's own
 * configuration by its schema, the rest by the fields that matter.
 */
import { fencedBlocks } from '@teapot-kms/testing';
import { generateIdentity, identityToRecipient } from 'age-encryption';
import { globSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { at, checkManifest, manifestsIn } from './manifests.ts';
import { assertTestsExist } from './named-tests.ts';
import { root, runBlocks, runnableBlocks } from './run-blocks.ts';

const guides = globSync('docs/guides/*.md', { cwd: root }).sort();
const read = (guide: string): string => readFileSync(join(root, guide), 'utf8');
const manifestsOf = (guide: string) =>
  fencedBlocks(read(guide)).flatMap(({ info, text }) => (info === 'yaml' ? manifestsIn(text) : []));
/** Pages that are no guide for a distribution. */
const SHARED = ['README', 'key-store', 'encryption', 'disaster-recovery'];

/** Writes an age identity as age-keygen does. */
async function writeIdentity(file: string): Promise<void> {
  const identity = await generateIdentity();
  const recipient = await identityToRecipient(identity);
  writeFileSync(file, `# created: 2026-11-29T00:00:00Z\n# public key: ${recipient}\n${identity}\n`, { mode: 0o600 });
}

for (const guide of guides) {
  test(`${guide}: each YAML block is one that its reader takes`, () => {
    for (const manifest of manifestsOf(guide)) checkManifest(manifest);
  });

  test(`${guide}: commands are run, or say that they are not`, () => {
    const blocks = fencedBlocks(read(guide)).filter(({ info }) => info !== 'yaml');
    for (const { info, text } of blocks.filter(({ info }) => info !== 'sh run')) {
      assert.ok(['sh', 'ini'].includes(info), `a block of ${info}`);
      if (info === 'sh') assert.match(text, /^# not run here: .+\.\n/);
    }
  });

  if (SHARED.includes(basename(guide, '.md'))) continue;
  test(`${guide} ends with backup, upgrade and uninstall, and the last goes back to what was before`, () => {
    const headings = [...read(guide).matchAll(/^## (.+)$/gm)].map(([, heading]) => heading);
    assert.equal(headings.slice(-3), ['Backup', 'Upgrade', 'Uninstall']);
    const [, uninstall] = read(guide).split('## Uninstall\n');
    assert.match(uninstall!, 'encryption.md#back-to-identity');
    assert.match(read(guide), 'disaster-recovery.md#back-up');
    assert.match(uninstall!, /\nRead in: /);
  });
}

test('the index names each guide', () => {
  const index = read('docs/guides/README.md');
  for (const guide of guides.filter((name) => !name.endsWith('README.md'))) {
    assert.match(index, `(${basename(guide)})`);
  }
});

test('on Talos the plugin is in the group of the socket, which is that of kube-apiserver', () => {
  const manifests = manifestsOf('docs/guides/talos.md').map(({ fields }) => fields);
  const plugin = manifests.find((fields) => 'instances' in fields);
  const pod = manifests.find((fields) => fields['kind'] === 'KubeStaticPodConfig');
  const groups = at(pod, 'pod.spec.securityContext.supplementalGroups');
  assert.equal(groups, [at(plugin, 'instances.0.socketGroup')]);
  assert.is(at(plugin, 'instances.0.socketMode'), '0660');
});

test('docs/guides/disaster-recovery.md: its blocks run', async () => {
  const guide = 'docs/guides/disaster-recovery.md';
  const blocks = runnableBlocks(read(guide));
  assert.is(blocks.length, 4);
  await runBlocks(guide, blocks, (scratch) => writeIdentity(join(scratch, 'etc/teapot-kms/age-key.txt')));
});

test('docs/guides/cluster-api.md: the bundle that its blocks make is imported by the script in its manifest', async () => {
  const guide = 'docs/guides/cluster-api.md';
  const controlPlane = manifestsOf(guide).find(({ fields }) => fields['kind'] === 'KubeadmControlPlane')!.fields;
  const files = at(controlPlane, 'spec.kubeadmConfigSpec.files') as { path: string; content: string }[];
  const script = files.find(({ path }) => path.endsWith('teapot-kms-import'))!.content;
  // What the Secret, ssh and a new machine do.
  const delivered = [
    'cp /run/teapot-kms/main.age.txt /etc/teapot-kms/main.age',
    'cp /etc/teapot-kms/bundle-key.txt /run/teapot-kms-identity',
    'mv /var/lib/teapot-kms/main /var/lib/teapot-kms/elsewhere',
  ];
  const imported = [
    'diff -r /var/lib/teapot-kms/elsewhere /var/lib/teapot-kms/main',
    '! test -e /run/teapot-kms-identity',
  ];
  await runBlocks(guide, [...runnableBlocks(read(guide)), ...delivered, script, ...imported], (scratch) =>
    writeIdentity(join(scratch, 'etc/teapot-kms/bundle-key.txt')),
  );
});

test('each test that the drill names exists', () => assertTestsExist(read('docs/guides/disaster-recovery.md'), 7));

test.run();
