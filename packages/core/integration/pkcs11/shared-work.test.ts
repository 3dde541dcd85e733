// Who waits for whom, and who does not.
import { Shim, SoftHsm } from '@teapot-kms/testing/daemons';
import { FakeClock, rejectsWithCode, until } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { generateKey } from '../../src/keyset/administration.ts';
import { pkcs11Provider } from '../../src/stores/pkcs11/provider.ts';
import { SecretBytes } from '../../src/util/secret-bytes.ts';
import { SharedResources } from '../../src/util/shared-resources.ts';
import type { KekOptions } from './support/tokens.ts';
import { collectReports, newDirectory, newKek, openKek, patient, uriOf, use } from './support/tokens.ts';

const missing = SoftHsm.missing() ?? Shim.missing();
if (missing !== undefined) console.log(`SKIPPED shared work on SoftHSM2: ${missing}`);
else {
  const softhsm = await SoftHsm.create(newDirectory());
  const token = Shim.over(softhsm);
  use(token);

  /** A store with a key, and a local KEK that was wrapped under it. */
  const ready = async (label: string, settings: KekOptions['settings'], shared?: SharedResources) => {
    const directory = newDirectory();
    const kek = await newKek({ token, directory, label, ...(settings && { settings }), ...(shared && { shared }) });
    const { primary } = await kek.describe(patient());
    return { kek, primary, wrapped: await kek.wrap(primary, new SecretBytes(randomBytes(32)), patient()) };
  };

  test('who gives up while a key is looked up does not end that for others', async () => {
    const options = { token, directory: newDirectory(), label: 'given-up', settings: { sessions: 1 } };
    const first = await newKek(options);
    const { primary } = await first.describe(patient());
    await first.close();
    const kek = openKek(options);
    const giveUp = new AbortController();
    const [impatient, other] = [kek.keyInfo(primary, giveUp), kek.keyInfo(primary, patient())];
    giveUp.abort();
    await rejectsWithCode(() => impatient, 'ERR_KMS_CANCELLED');
    assert.is((await other).mechanism, 'aes-gcm');
    await kek.close();
  });

  test('each unwrap is one of the token’s own, as direct mode promises its audit log', async () => {
    const { kek, primary, wrapped } = await ready('direct', { sessions: 2 });
    token.resetCounters();
    await Promise.all(Array.from({ length: 5 }, () => kek.unwrap(primary, wrapped, patient())));
    assert.is(token.calls('C_Decrypt'), 5);
    await kek.close();
  });

  test('a call that waits behind slow ones is not taken for one that hangs', async () => {
    // Six calls together take longer than one may.
    const settings = { sessions: 1, callTimeout: '3s' };
    const { kek, primary, wrapped } = await ready('slow', settings);
    token.orders('latency C_Decrypt 600');
    await Promise.all(Array.from({ length: 6 }, () => kek.unwrap(primary, wrapped, patient())));
    assert.is(kek.counters()['token_host_starts'], 1);
    token.orders('hang C_Decrypt 1');
    await Promise.all(Array.from({ length: 6 }, () => kek.unwrap(primary, wrapped, patient())));
    assert.is(kek.counters()['token_host_starts'], 2, 'one that hangs is');
    token.clear();
    await kek.close();
  });

  test('damaged bytes on a slow token are refused in time: what confirms it is not taken for a hang', async () => {
    const { kek, primary, wrapped } = await ready('damaged', { sessions: 1 });
    wrapped.writeUInt8(wrapped.at(-1)! ^ 1, wrapped.length - 1);
    token.orders('latency C_Decrypt 250');
    await rejectsWithCode(() => kek.unwrap(primary, wrapped, patient()), 'ERR_KMS_UNWRAP_FAILED');
    assert.is(kek.counters()['token_host_starts'], 1);
    token.clear();
    await kek.close();
  });

  test('so are those where a call may take less time', async () => {
    const settings = { sessions: 1, callTimeout: '3s' };
    const { kek, primary, wrapped } = await ready('hasty', settings);
    wrapped.writeUInt8(wrapped.at(-1)! ^ 1, wrapped.length - 1);
    token.orders('latency C_Decrypt 720');
    await rejectsWithCode(() => kek.unwrap(primary, wrapped, patient()), 'ERR_KMS_UNWRAP_FAILED');
    assert.is(kek.counters()['token_host_starts'], 1);
    token.clear();
    await kek.close();
  });

  test('slow calls that come after many quick ones, and so together, are not taken for one that hangs', async () => {
    const settings = { sessions: 1, callTimeout: '3s' };
    const { kek, primary, wrapped } = await ready('uneven', settings);
    const unwraps = (count: number) =>
      Promise.all(Array.from({ length: count }, () => kek.unwrap(primary, wrapped, patient())));
    await unwraps(200);
    token.orders('latency C_Decrypt 720');
    await unwraps(16);
    assert.is(kek.counters()['token_host_starts'], 1);
    token.clear();
    await kek.close();
  });

  test('a stop lets a call end that is under way, and the module with it', async () => {
    // So that no wait of the stop is too short for a slow machine.
    const shared = new SharedResources(undefined, new FakeClock());
    const { kek, primary, wrapped } = await ready('stopped', { sessions: 1 }, shared);
    token.orders('latency C_Decrypt 100');
    token.resetCounters();
    const unwrapped = rejectsWithCode(() => kek.unwrap(primary, wrapped, patient()), 'ERR_KMS_CLOSED');
    await until('it is under way', () => token.calls('C_DecryptInit') === 1, { everyMs: 5 });
    await kek.close();
    await unwrapped;
    assert.is(token.calls('C_Finalize'), 1);
    token.clear();
  });

  test('who gives up before their turn costs the token nothing', async () => {
    const { kek, primary, wrapped } = await ready('in-vain', { sessions: 1 });
    token.orders('latency C_Decrypt 300');
    token.resetCounters();
    const hasty = { signal: AbortSignal.timeout(100) };
    const calls = Array.from({ length: 6 }, () => kek.unwrap(primary, wrapped, hasty));
    await Promise.all(calls.map((call) => rejectsWithCode(() => call, 'ERR_KMS_DEADLINE_EXCEEDED')));
    // What comes last is done last.
    await kek.unwrap(primary, wrapped, patient());
    assert.ok(token.calls('C_Decrypt') < 7, 'all of them reached the token');
    token.clear();
    await kek.close();
  });

  test('the token host gets no variable that holds a PIN, its own or another’s, and gets all others', async () => {
    process.env['TEAPOT_TEST_PIN'] = token.pin;
    process.env['TEAPOT_OTHER_PIN'] = 'of another';
    const { shared, reports } = collectReports();
    const settings = { keyset: join(newDirectory(), 'keyset'), stateDirectory: newDirectory(), sessions: 1 };
    const uri = uriOf(token, 'env').replace(/pin-source=.*/, 'pin-source=env:TEAPOT_TEST_PIN');
    const open = (one: string) => pkcs11Provider.open(one, pkcs11Provider.settings.parse(settings), shared);
    const [kek, other] = [open(uri), open(uri.replace('TEST_PIN', 'OTHER_PIN'))];
    await generateKey(kek.admin);
    const [started] = reports;
    assert.ok(started?.type === 'token-host-started');
    const environment = readFileSync(`/proc/${String(started.pid)}/environ`, 'utf8').split('\0');
    assert.not(environment.some((line) => /^TEAPOT_(TEST|OTHER)_PIN=/.test(line)));
    assert.ok(environment.some((line) => line.startsWith('TEAPOT_SHIM_MODULE=')));
    await Promise.all([kek.close(), other.close()]);
    delete process.env['TEAPOT_TEST_PIN'];
    delete process.env['TEAPOT_OTHER_PIN'];
  });
}

test.run();
