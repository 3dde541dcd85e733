// The steps of a setup on a model of a node: kills at every change, rollbacks, several nodes, and the way back.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { run } from '../../src/setup/run.ts';
import { SetupError } from '../../src/setup/setup-error.ts';
import type { SetupErrorCode } from '../../src/setup/setup-error.ts';
import type { Plan, ServerState, Wish } from '../../src/setup/plan-input.ts';
import { CONFIG, ENCRYPTION, HASH, Killed, MANIFEST, ModelSite, undo, wish } from './support/model-site.ts';

const TIMEOUT_MS = 3_000;
const other = (name: string, change: Partial<ServerState> = {}): ServerState => {
  return { name, startedAt: 1, keyIdHash: undefined, ...change };
};
const go = (site: ModelSite, wanted: Wish = wish): Promise<Plan> => run(site, wanted, TIMEOUT_MS);
async function fails(site: ModelSite, code: SetupErrorCode, wanted: Wish = wish): Promise<SetupError> {
  try {
    await go(site, wanted);
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    assert.is(error.code, code, error.message);
    return error;
  }
  throw new Error(`expected ${code}`);
}
async function encrypted(): Promise<ModelSite> {
  const site = new ModelSite();
  assert.is((await go(site)).step, 'done');
  return site;
}
/** What is on the host, without backups. */
const texts = (site: ModelSite): Record<string, string> =>
  Object.fromEntries([...site.texts].filter(([path]) => !path.startsWith(site.backupDirectory)).toSorted());

test('one node: all steps, and KMS reads before it writes', async () => {
  const site = await encrypted();
  assert.equal(site.steps, ['configuration', 'keyset', 'plugin', 'read', 'kubeadm', 'write']);
  assert.equal(site.history, ['absent', 'reads', 'writes']);
  assert.match(site.kubeadm!, 'encryption-provider-config');
});

test('what is done is not done again', async () => {
  const site = await encrypted();
  const { changes } = site;
  assert.is((await go(site)).step, 'done');
  assert.is(site.changes, changes);
});

test('nothing but manifests lies in the directory of the manifests, and a backup elsewhere', async () => {
  const paths = [...(await encrypted()).texts.keys()];
  assert.equal(
    paths.filter((path) => path.startsWith('/etc/kubernetes/manifests/')),
    [MANIFEST],
  );
  assert.ok(paths.includes('/etc/kubernetes/teapot-kms-backup/etc-kubernetes-manifests-kube-apiserver.yaml'));
  assert.not(paths.some((path) => path.endsWith('journal.json')));
});

for (const [name, wanted, start] of [
  ['to encrypt', wish, () => new ModelSite()],
  ['to undo', undo, encrypted],
] as const) {
  test(`${name}: killed before or after any change, the next run ends where one run ends`, async () => {
    const whole = await start();
    const begin = whole.changes;
    await go(whole, wanted);
    for (let change = begin + 1; change <= whole.changes; change++) {
      for (const when of ['before', 'after'] as const) {
        const site = await start();
        site.death = { change, when };
        await go(site, wanted).then(
          () => assert.unreachable('it was to be killed'),
          (error: unknown) => assert.instance(error, Killed),
        );
        assert.is((await go(site, wanted)).step, 'done', `killed ${when} change ${change}`);
        assert.equal(texts(site), texts(whole), `killed ${when} change ${change}`);
        assert.is(site.kubeadm, whole.kubeadm);
      }
    }
  });
}

test('a kube-apiserver that does not become ready gets its manifest back', async () => {
  const site = new ModelSite();
  const before = site.texts.get(MANIFEST);
  site.broken = (position) => position === 'reads';
  const error = await fails(site, 'ERR_SETUP_ROLLED_BACK');
  assert.match(
    error.message,
    /step read did not succeed in 3 s: kube-apiserver is not ready: connection refused[^]*kube-apiserver is ready$/,
  );
  assert.is(site.texts.get(MANIFEST), before);
  assert.not(site.texts.has(ENCRYPTION));
  assert.is((await site.server()).startedAt !== undefined, true);
  assert.not.match(site.kubeadm!, 'encryption-provider-config');
});

test('a kube-apiserver that does not become ready after a kill is rolled back by the next run', async () => {
  const site = new ModelSite();
  const before = site.texts.get(MANIFEST);
  site.broken = (position) => position === 'reads';
  // Configuration, keyset, plugin, no journal, journal, EncryptionConfiguration, backup, manifest.
  site.death = { change: 8, when: 'after' };
  await go(site).catch((error: unknown) => assert.instance(error, Killed));
  assert.is.not(site.texts.get(MANIFEST), before);
  await fails(site, 'ERR_SETUP_ROLLED_BACK');
  assert.is(site.texts.get(MANIFEST), before);
});

test('one that does not write goes back to KMS as the second provider, and keeps it', async () => {
  const site = new ModelSite();
  site.broken = (position) => position === 'writes';
  await fails(site, 'ERR_SETUP_ROLLED_BACK');
  assert.is(site.position, 'reads');
  assert.is((await site.server()).keyIdHash, HASH);
});

test('once objects need the provider, it stays', async () => {
  const site = new ModelSite();
  site.neededObjects = 1;
  site.broken = (position) => position === 'reads';
  await fails(site, 'ERR_SETUP_KEPT');
  assert.is(site.position, 'reads');
});

test('where etcd cannot be read, it stays if another kube-apiserver knows it, and goes if none does', async () => {
  for (const [keyIdHash, code] of [
    [HASH, 'ERR_SETUP_KEPT'],
    [undefined, 'ERR_SETUP_ROLLED_BACK'],
  ] as const) {
    const site = new ModelSite();
    site.keyset = true;
    site.neededObjects = undefined;
    site.otherServers = [other('node-2', { keyIdHash })];
    site.broken = (position) => position === 'reads';
    await fails(site, code);
  }
});

test('a manifest that somebody changes while it waits is left as it is', async () => {
  const site = new ModelSite();
  site.broken = (position) => position === 'reads';
  site.meanwhile = () => {
    if (site.position === 'reads')
      site.texts.set(MANIFEST, `${site.texts.get(MANIFEST)!.replace(/\n# mine$/, '')}\n# mine`);
  };
  const error = await fails(site, 'ERR_SETUP_ROLLED_BACK');
  assert.match(error.message, `left as they are: ${MANIFEST}`);
  assert.match(site.texts.get(MANIFEST)!, '# mine');
});

test('a manifest that somebody changed after a kill counts as it is', async () => {
  const site = new ModelSite();
  // Before the EncryptionConfiguration.
  site.death = { change: 6, when: 'before' };
  await go(site).catch((error: unknown) => assert.instance(error, Killed));
  site.texts.set(MANIFEST, site.texts.get(MANIFEST)!.replace('- kube-apiserver\n', '- kube-apiserver\n    - --v=3\n'));
  assert.is((await go(site)).step, 'done');
  assert.match(site.texts.get(MANIFEST)!, '--v=3');
  assert.is(site.position, 'writes');
});

test('a plugin that does not answer changes nothing of the cluster', async () => {
  const site = new ModelSite();
  const before = site.texts.get(MANIFEST);
  site.startPlugin = () => Promise.resolve();
  await fails(site, 'ERR_SETUP_FAILED');
  assert.is(site.texts.get(MANIFEST), before);
  assert.equal(site.history, ['absent']);
});

const POD = '/etc/kubernetes/manifests/teapot-kms.yaml';
const asPod: Wish = { ...wish, pod: { file: POD, text: 'image: new\n' } };

test('a static pod that does not answer is the one from before again', async () => {
  const site = new ModelSite();
  site.texts.set(POD, 'image: old\n');
  site.startPlugin = () => Promise.resolve();
  const error = await fails(site, 'ERR_SETUP_ROLLED_BACK', asPod);
  assert.match(error.message, 'step plugin did not succeed in 3 s: the plugin does not answer: no such file');
  assert.is(site.texts.get(POD), 'image: old\n');
  assert.not([...site.texts.keys()].some((path) => path.endsWith('journal.json')));
});

test('a static pod that was being changed at a kill is finished', async () => {
  const site = new ModelSite();
  // Configuration, keyset, journal, pod.
  site.death = { change: 4, when: 'before' };
  await go(site, asPod).catch((error: unknown) => assert.instance(error, Killed));
  assert.is((await go(site, asPod)).step, 'done');
  assert.is(site.texts.get(POD), 'image: new\n');
});

test('a plugin that kube-apiserver uses is not started again, nor its static pod replaced', async () => {
  const site = await encrypted();
  site.texts.set(POD, 'image: old\n');
  const { changes } = site;
  site.pluginRuns = false;
  const next = await go(site, asPod);
  assert.is(next.step, 'blocked');
  assert.match(next.remedy!, 'doctor');
  assert.equal([site.changes, site.pluginRuns, site.texts.get(POD)], [changes, false, 'image: old\n']);
});

test('no keyset is generated for a kube-apiserver that uses another one: its volume may not be mounted', async () => {
  const site = await encrypted();
  site.keyset = false;
  const next = await go(site);
  assert.is(next.step, 'blocked');
  assert.match(next.remedy!, 'mount its volume');
  assert.not(site.keyset);
});

test('where an upgrade lost the flags, a plugin that does not run is started', async () => {
  const site = await encrypted();
  site.texts.set(MANIFEST, new ModelSite().texts.get(MANIFEST)!);
  site.pluginRuns = false;
  assert.is((await go(site)).step, 'done');
  assert.ok(site.pluginRuns);
});

test('a kube-apiserver that is not ready at the start is not touched', async () => {
  const site = new ModelSite();
  site.broken = () => true;
  const next = await go(site);
  assert.is(next.step, 'blocked');
  assert.match(next.reason, 'is not ready: connection refused');
  assert.is(site.changes, 0);
});

test('a node writes only when every other can read, and one that does not answer cannot', async () => {
  const site = new ModelSite();
  site.otherServers = [other('node-2'), other('node-3', { startedAt: undefined, problem: 'no route to host' })];
  const next = await go(site);
  assert.is(next.step, 'wait-for-servers');
  assert.match(next.reason, 'node-2, node-3 (no route to host)');
  assert.equal(site.history, ['absent', 'reads']);
  site.otherServers = [other('node-2', { keyIdHash: HASH }), other('node-3', { keyIdHash: HASH })];
  assert.is((await go(site)).step, 'done');
  assert.is(site.position, 'writes');
});

test('a second node imports the keyset, and never makes one of its own', async () => {
  const site = new ModelSite();
  site.otherServers = [other('node-1', { keyIdHash: HASH })];
  const next = await go(site);
  assert.is(next.step, 'blocked');
  assert.match(next.remedy!, '--import');
  assert.not(site.keyset);
  assert.is((await go(site, { ...wish, imports: true })).step, 'done');
});

test('another keyset than that of the other nodes is refused before anything changes', async () => {
  const site = new ModelSite();
  site.keyset = true;
  site.otherServers = [other('node-1', { keyIdHash: 'sha256:bb' })];
  const next = await go(site, { ...wish, imports: true });
  assert.is(next.step, 'blocked');
  assert.match(next.remedy!, 'move the keyset in /var/lib/teapot-kms/main away');
  assert.equal(site.told, ['--import is not used: there is a keyset in /var/lib/teapot-kms/main']);
  assert.equal(site.history, ['absent']);
});

test('another keyset that this kube-apiserver has used already is kept', async () => {
  const site = await encrypted();
  site.otherServers = [other('node-1', { keyIdHash: 'sha256:bb' })];
  const next = await go(site);
  assert.is(next.step, 'blocked');
  assert.match(next.remedy!, 'keep both keysets');
});

test('a keyset that is imported is used, and nothing is said of it', async () => {
  const site = new ModelSite();
  await go(site, { ...wish, imports: true });
  assert.equal(site.told, []);
});

test('a node that has not joined needs the EncryptionConfiguration of the others first', async () => {
  const site = new ModelSite();
  site.texts.delete(MANIFEST);
  assert.is((await go(site, { ...wish, imports: true })).step, 'blocked');
  assert.is(site.changes, 0);
});

test('a node that has not joined imports the keyset of the others, and never makes one of its own', async () => {
  const site = new ModelSite();
  site.texts.delete(MANIFEST);
  site.texts.set(ENCRYPTION, 'kind: EncryptionConfiguration\n');
  const next = await go(site);
  assert.is(next.step, 'blocked');
  assert.match(next.remedy!, '--import');
  assert.not(site.keyset);
  assert.is((await go(site, { ...wish, imports: true })).step, 'join');
  assert.ok(site.pluginRuns && site.texts.has(CONFIG));
  assert.is((await go(site)).step, 'join');
});

test('providers of an EncryptionConfiguration that is there write on until KMS writes, and stay', async () => {
  const site = new ModelSite();
  const own = '/etc/kubernetes/enc/enc.yaml';
  site.texts.set(
    own,
    'kind: EncryptionConfiguration\nresources:\n  - resources: [secrets]\n    providers:\n      - aescbc: {}\n',
  );
  site.texts.set(
    MANIFEST,
    site.texts.get(MANIFEST)!.replace('    image:', `    - --encryption-provider-config=${own}\n    image:`),
  );
  assert.is((await go(site)).step, 'done');
  assert.match(site.texts.get(ENCRYPTION)!, /- kms:[^]*- aescbc/);
  assert.is((await go(site, undo)).step, 'done');
  assert.is(site.position, 'absent');
  assert.match(site.texts.get(MANIFEST)!, `--encryption-provider-config=${ENCRYPTION}`);
  assert.match(site.texts.get(ENCRYPTION)!, '- aescbc');
});

/** As docs/guides/kubeadm.md does it: the file is in another place, and the mounts have other names. */
async function setUpByHand(position: 'writes' | 'reads', reloads = true): Promise<ModelSite> {
  const site = new ModelSite();
  const own = '/etc/kubernetes/enc/encryption-config.yaml';
  const providers = [
    '{kms: {apiVersion: v2, name: teapot-main, endpoint: unix:///run/teapot-kms/main/kms.sock}}',
    '{identity: {}}',
  ];
  if (position === 'reads') providers.reverse();
  site.texts.set(
    own,
    `kind: EncryptionConfiguration\nresources: [{resources: [secrets], providers: [${providers.join(', ')}]}]\n`,
  );
  const flags = [
    `--encryption-provider-config=${own}`,
    ...(reloads ? ['--encryption-provider-config-automatic-reload=true'] : []),
  ];
  const lines = flags.map((flag) => `    - ${flag}\n`).join('');
  site.texts.set(MANIFEST, site.texts.get(MANIFEST)!.replace('    image:', `${lines}    image:`));
  site.texts.set(CONFIG, 'version: 1\n');
  [site.keyset, site.pluginRuns] = [true, true];
  await site.server();
  return site;
}

for (const position of ['writes', 'reads'] as const) {
  test(`undo: a cluster that was set up by hand, whose plugin ${position}, goes back too`, async () => {
    const site = await setUpByHand(position);
    assert.is((await go(site, undo)).step, 'done');
    assert.is(site.position, 'absent');
    assert.not.match(site.texts.get(MANIFEST)!, 'encryption-provider-config');
    assert.not(site.texts.has(ENCRYPTION));
  });
}

test('undo: without automatic reload, nothing is changed that kube-apiserver would not see', async () => {
  const site = await setUpByHand('writes', false);
  const { changes } = site;
  const next = await go(site, undo);
  assert.is(next.step, 'blocked');
  assert.match(next.remedy!, `set --encryption-provider-config-automatic-reload=true in ${MANIFEST}`);
  assert.is(site.changes, changes);
});

test('an upgrade that lost the flags is repaired, and KMS writes on at once', async () => {
  const site = await encrypted();
  site.texts.set(MANIFEST, new ModelSite().texts.get(MANIFEST)!);
  site.history.length = 0;
  assert.is((await go(site)).step, 'done');
  assert.equal(site.history, ['absent', 'writes']);
});

test('undo: KMS stops writing, stays while objects need it, and then goes with all that was added', async () => {
  const site = await encrypted();
  const first = new ModelSite();
  site.neededObjects = 3;
  const next = await go(site, undo);
  assert.is(next.step, 'rewrite');
  assert.match(next.reason, '3 objects');
  assert.is(site.position, 'reads');
  site.neededObjects = 0;
  assert.is((await go(site, undo)).step, 'done');
  assert.equal(site.history, ['absent', 'reads', 'writes', 'reads', 'absent']);
  assert.is(site.texts.get(MANIFEST), first.texts.get(MANIFEST));
  assert.not.match(site.kubeadm!, 'encryption-provider-config');
});

test('undo: while another kube-apiserver writes, or nobody could look into etcd, the provider stays', async () => {
  const site = await encrypted();
  site.otherServers = [other('node-2', { keyIdHash: HASH, writes: true })];
  assert.is((await go(site, undo)).step, 'wait-for-servers');
  site.otherServers = [other('node-2', { keyIdHash: HASH, writes: false })];
  site.neededObjects = undefined;
  assert.is((await go(site, undo)).step, 'blocked');
  assert.is(site.position, 'reads');
});

test('undo: a kube-apiserver that does not start without KMS gets it back', async () => {
  const site = await encrypted();
  site.broken = (position) => position === 'absent';
  await fails(site, 'ERR_SETUP_ROLLED_BACK', undo);
  assert.is(site.position, 'reads');
});

test.run();
