import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { diffOf, preview } from '../../src/setup/preview.ts';
import { run } from '../../src/setup/run.ts';
import { observe } from '../../src/setup/site.ts';
import { namedConfiguration } from '../../src/setup/plan-parts.ts';
import { HASH, MANIFEST, ModelSite, undo, wish } from './support/model-site.ts';
import type { Wish } from '../../src/setup/plan-input.ts';

const steps = async (site: ModelSite, wanted: Wish = wish): Promise<string[]> =>
  preview(await observe(site, wanted, namedConfiguration)).map(({ step }) => step);

test('a preview has the steps that are taken then, and changes nothing', async () => {
  const site = new ModelSite();
  const foreseen = await steps(site);
  assert.is(site.changes, 0);
  await run(site, wish, 1_000);
  assert.equal(foreseen, [...site.steps, 'done']);
});

test('the preview of an undo too', async () => {
  const site = new ModelSite();
  await run(site, wish, 1_000);
  site.steps.length = 0;
  const foreseen = await steps(site, undo);
  await run(site, undo, 1_000);
  assert.equal(foreseen, [...site.steps, 'done']);
});

test('it ends where another node is waited for', async () => {
  const site = new ModelSite();
  site.otherServers = [{ name: 'node-2', startedAt: 1, keyIdHash: undefined }];
  assert.is((await steps(site)).at(-1), 'wait-for-servers');
  site.otherServers = [{ name: 'node-2', startedAt: 1, keyIdHash: HASH }];
  assert.is((await steps(site, { ...wish, imports: true })).at(-1), 'done');
});

test('a diff shows no key of another provider', async () => {
  const site = new ModelSite();
  const secret = 'c2VjcmV0IGlzIHNlY3VyZSwgaXMgaXQ/PyE=';
  site.texts.set(
    '/enc.yaml',
    `kind: EncryptionConfiguration\nresources: [{resources: [secrets], providers: [{aescbc: {keys: [{name: a, secret: ${secret}}]}}]}]\n`,
  );
  site.texts.set(
    MANIFEST,
    site.texts.get(MANIFEST)!.replace('    image:', '    - --encryption-provider-config=/enc.yaml\n    image:'),
  );
  const input = await observe(site, wish, namedConfiguration);
  const diffs = preview(input).map((step) => diffOf(step, input.clusterConfiguration));
  assert.match(diffs.join('\n'), 'secret: (not shown)');
  assert.not.match(diffs.join('\n'), secret.slice(0, 10));
});

test.run();
