// What doctor advises for a key in a token: each test breaks something, does what is printed, and opens what was encrypted before.
import { Shim, SoftHsm } from '@teapot-kms/testing/daemons';
import { chmodSync, cpSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { seed } from './support/calls.ts';
import { commandsIn, doctor, remedyOf, run } from './support/doctor.ts';
import { eventually, withClient } from './support/running-plugin.ts';
import { TokenSite } from './support/token-site.ts';

const test = suite<{ site: TokenSite }>('what doctor advises for a token');
const plaintext = seed();

test.before.each(async (context) => {
  context.site = await TokenSite.create();
});
test.after.each(({ site }) => site.remove());

/** A configuration as {@link TokenSite.tokenInstance} makes it, which is probed every second. */
const configure = (site: TokenSite, uri = site.uri()): void =>
  site.writeConfig([site.tokenInstance('hsm', { uri }).replace('probeInterval: 10m', 'probeInterval: 1s')]);

/** A plugin with a key in the token, and something encrypted. @returns the check that it still opens and nothing is to do */
async function served(site: TokenSite): Promise<() => Promise<void>> {
  configure(site);
  site.generateInToken();
  await site.serve([], 'the key store answers');
  const { ciphertext, keyId } = await withClient(site.socket('hsm'), (client) => client.encrypt(plaintext, 'before'));
  const node = site.path('node', site.directory);
  mkdirSync(node, { recursive: true });
  cpSync(site.path('keyset'), `${node}/keyset`, { recursive: true });
  return async () => {
    await eventually(() => {
      const { code, stdout } = doctor(site);
      assert.is(code, 0, stdout);
      assert.match(stdout, 'Nothing to do');
    });
    await withClient(site.socket('hsm'), async (client) => {
      assert.equal(await client.decrypt(ciphertext, keyId, 'after'), plaintext);
    });
  };
}

test('a manifest that is gone, or damaged: from another node', async ({ site }) => {
  const healed = await served(site);
  const node = { 'NODE:': site.path('node') };
  renameSync(site.path('keyset'), site.path('keyset.lost'));
  run(commandsIn(remedyOf(site, 'mount the volume'))[0]!, node);
  await healed();
  writeFileSync(site.path('keyset/keyset.yaml'), 'keys: none\n');
  for (const command of commandsIn(remedyOf(site, 'move the damaged manifest aside'))) run(command, node);
  await healed();
});

test('the file of the PIN is open to others', async ({ site }) => {
  const healed = await served(site);
  chmodSync(site.shim.pinFile, 0o644);
  run(remedyOf(site, 'chmod 0600').replace(/ \(.*/, ''));
  await healed();
});

test('a module that is not there', async ({ site }) => {
  const healed = await served(site);
  await site.stopAll();
  configure(site, site.uri({ module: site.path('none.so') }));
  remedyOf(site, 'correct module-path');
  configure(site);
  await site.serve([], 'the key store answers');
  await healed();
});

test('a PIN that the token has refused is corrected at its source', async ({ site }) => {
  const healed = await served(site);
  await site.stopAll();
  const wrong = site.wrongPinFile();
  configure(site, site.uri({ pinFile: wrong }));
  await site.serve([], 'refused the PIN');
  remedyOf(site, 'correct the PIN at its source');
  writeFileSync(wrong, readFileSync(site.shim.pinFile), { mode: 0o600 });
  await healed();
});

const missing = SoftHsm.missing() ?? Shim.missing();
if (missing !== undefined) console.log(`SKIPPED what doctor advises for a token: ${missing}`);
else test.run();
