// What doctor advises for a token (docs/remedies.md): each test breaks something, does what is advised, and opens what was encrypted before.
import { importAesKey, newPin } from '@teapot-kms/testing/daemons';
import { ForwardClock, rejectsWithCode, until } from '@teapot-kms/testing';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { cpSync, mkdirSync, readdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { KmsError } from '../../src/errors.ts';
import { generateKey, promoteKey } from '../../src/keyset/administration.ts';
import { LocalKekService } from '../../src/service/local-kek/local-kek-service.ts';
import type { Pkcs11Kek } from '../../src/stores/pkcs11/pkcs11-kek.ts';
import { PinLedger } from '../../src/stores/pkcs11/pin-ledger.ts';
import { pkcs11Provider } from '../../src/stores/pkcs11/provider.ts';
import { BLOCK, MAX_WRAPS, WARN_AFTER } from '../../src/stores/pkcs11/wrap-budget.ts';
import { SecretBytes } from '../../src/util/secret-bytes.ts';
import { SharedResources } from '../../src/util/shared-resources.ts';
import { CKR, seal, sealedKey, shimmedToken } from './support/rig.ts';
import type { Sealed, SealedKey } from './support/rig.ts';
import { newDirectory, openKek, patient, uriOf } from './support/tokens.ts';
import type { KekOptions } from './support/tokens.ts';

const parts = await shimmedToken('what doctor advises for a token');
if (parts) {
  const { shim, softHsm } = parts;
  const key = await sealedKey(shim, 1);

  /** A host with the key: a state directory, a PIN file, and a copy of the manifest. */
  class Host {
    readonly directory = newDirectory();
    readonly state = join(this.directory, 'state');
    readonly pinFile = join(this.directory, 'pin');
    readonly #key: SealedKey;

    constructor(pin = shim.pin, of = key) {
      this.#key = of;
      this.pin = pin;
      cpSync(join(of.directory, 'keyset'), join(this.directory, 'keyset'), { recursive: true });
    }

    set pin(pin: string) {
      writeFileSync(this.pinFile, pin, { mode: 0o600 });
    }

    open(settings: KekOptions['settings'] = {}): Pkcs11Kek {
      const { directory, pinFile } = this;
      const { label } = this.#key;
      return openKek({ token: shim, directory, label, pinFile, settings: { sessions: 1, ...settings } });
    }

    /** The file in the state directory whose name is like this. */
    file(pattern: RegExp): string {
      return join(
        this.state,
        readdirSync(this.state).find((name) => pattern.test(name))!,
      );
    }

    /** Asserts that nothing is to do, and that what was encrypted before opens. */
    async healed(kek = this.open(), sealed: Sealed = this.#key.envelopes[0]!): Promise<void> {
      assert.equal(await adviceOf(kek), []);
      await use(kek, async (service) => {
        assert.equal(await service.decrypt(sealed, patient()), sealed.plaintext);
        assert.equal(service.describe().warnings, []);
      });
    }
  }

  /** What doctor advises: of the load, and of the examination. */
  async function adviceOf(kek: Pkcs11Kek): Promise<string[]> {
    const problems = await kek.describe(patient()).then(
      ({ damaged }) => (damaged ? [damaged.error] : []),
      (error: unknown) => [KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE')],
    );
    return [...problems, ...(await kek.examine(patient()))].flatMap(({ remedy }) => remedy ?? []);
  }

  /** Asserts that the advice has this text. @returns all of the remedy */
  async function advised(kek: Pkcs11Kek, text: string): Promise<string> {
    const advice = await adviceOf(kek);
    await kek.close();
    const found = advice.find((one) => one.includes(text));
    assert.ok(found, `no ${JSON.stringify(text)} in ${JSON.stringify(advice)}`);
    return found;
  }

  async function use(remote: Pkcs11Kek, work: (service: LocalKekService) => Promise<void>, direct = false) {
    const service = new LocalKekService({ remote, direct });
    service.start();
    try {
      await service.status();
      await work(service);
    } finally {
      await service.close();
    }
  }

  /** Does "remove FILE" as it is printed; FILE may be a pattern. */
  const remove = (remedy: string): void => {
    const [, file] = /remove (\S+)$/.exec(remedy)!;
    execFileSync('/bin/sh', ['-c', `rm ${file}`]);
  };

  test.before.each(() => {
    shim.clear();
    shim.resetCounters();
  });

  test('a PIN that was refused: the token gets it, and its record is removed', async () => {
    const pin = newPin();
    const host = new Host(pin);
    const remedy = await advised(host.open(), 'to try the same PIN again, remove ');
    await softHsm.setUserPin(pin);
    await advised(host.open(), 'to try the same PIN again, remove ');
    assert.is(shim.calls('C_Login'), 1);
    remove(remedy);
    await host.healed();
    await softHsm.setUserPin(shim.pin);
  });

  test('a PIN that is locked: the security officer sets a new one, which the source gets', async () => {
    const host = new Host();
    shim.orders('token flags 0x40000', `fail C_Login ${String(CKR.pinLocked)}`);
    await advised(host.open(), 'have the security officer of the token set a new PIN');
    assert.is(shim.calls('C_Login'), 0);
    const pin = newPin();
    await softHsm.setUserPin(pin);
    shim.clear();
    host.pin = pin;
    await host.healed();
    await softHsm.setUserPin(shim.pin);
  });

  test('one try is left: a login by other means, and then the plugin logs in', async () => {
    const host = new Host();
    shim.orders('token flags 0x20000');
    await advised(host.open(), 'log in once with the right PIN by other means');
    assert.is(shim.calls('C_Login'), 0);
    assert.ok((await softHsm.keys()).length > 0, 'a login in another process');
    shim.clear();
    await host.healed();
  });

  test('a record of logins that is damaged is removed', async () => {
    const host = new Host();
    await host.healed();
    writeFileSync(host.file(/^pin-.*\.json$/), '{');
    const remedy = await advised(host.open(), 'if you are sure that the PIN at its source is right, remove ');
    remove(remedy);
    await host.healed();
  });

  test('a lock of a process that does not log in is removed', async () => {
    const host = new Host();
    await host.healed();
    const kek = host.open();
    const token = await kek.token().info(patient());
    await kek.close();
    const clock = new ForwardClock();
    const ledger = new PinLedger(host.state, token, { clock });
    symlinkSync(String(process.pid), `${ledger.file}.lock`);
    const login = () =>
      ledger.attempt(new SecretBytes(Buffer.from(shim.pin)), token, () =>
        Promise.reject(new Error('the token was asked')),
      );
    let over = false;
    const refused = rejectsWithCode(login, 'ERR_KMS_STORE_UNAVAILABLE').finally(() => (over = true));
    await until('it has waited', () => (clock.skip(30_000), over), { everyMs: 20 });
    const { message, remedy } = await refused;
    assert.match(message, `process ${String(process.pid)} has been logging in to token`);
    assert.match(remedy ?? '', 'if it does not, remove ');
    remove(remedy!);
    await host.healed();
  });

  test('no systemd credential: once the unit has LoadCredential, the PIN comes from there', async () => {
    const host = new Host();
    const uri = uriOf(shim, key.label).replace(/file:.*/, 'credential:token-pin');
    const open = () => {
      const settings = { keyset: join(host.directory, 'keyset'), stateDirectory: host.state, sessions: 1 };
      return pkcs11Provider.open(uri, pkcs11Provider.settings.parse(settings), new SharedResources());
    };
    await advised(open(), "add LoadCredential=token-pin:/path/of/the/pin to the plugin's unit");
    // What systemd does then (systemd.exec(5)).
    const credentials = join(host.directory, 'credentials');
    mkdirSync(credentials, { mode: 0o700 });
    writeFileSync(join(credentials, 'token-pin'), shim.pin, { mode: 0o400 });
    process.env['CREDENTIALS_DIRECTORY'] = credentials;
    await host.healed(open());
    delete process.env['CREDENTIALS_DIRECTORY'];
  });

  test('a PIN in a variable that is not UTF-8 is put into a file', async () => {
    const host = new Host();
    process.env['TOKEN_PIN'] = `${shim.pin}\uFFFD`;
    const settings = { keyset: join(host.directory, 'keyset'), stateDirectory: host.state, sessions: 1 };
    const uri = uriOf(shim, key.label).replace(/file:.*/, 'env:TOKEN_PIN');
    const kek = pkcs11Provider.open(uri, pkcs11Provider.settings.parse(settings), new SharedResources());
    await advised(kek, 'put the PIN into a file');
    delete process.env['TOKEN_PIN'];
    await host.healed();
  });

  test('a mechanism that the key cannot do: the setting is corrected', async () => {
    const host = new Host();
    await advised(host.open({ mechanism: 'rsa-oaep-sha256' }), 'correct the settings of the key, or the token');
    await host.healed();
  });

  for (const [what, wraps] of [
    ['all wraps', MAX_WRAPS],
    // The same way, and some seconds.
    ...(process.env['TEAPOT_TEST_FULL'] === '1' ? [['half of the wraps', WARN_AFTER] as const] : []),
  ] as const) {
    test(`${what} under a key are used up: the key is rotated`, async () => {
      const own = await sealedKey(shim, 1);
      const host = new Host(shim.pin, own);
      const settings = { direct: true, mechanism: 'aes-gcm' };
      const counted = join(host.state, `wraps-${own.keyId}`);
      mkdirSync(host.state, { mode: 0o700 });
      writeFileSync(counted, '', { mode: 0o600 });
      truncateSync(counted, wraps / BLOCK);
      await advised(host.open(settings), 'rotate the key');
      const kek = host.open(settings);
      const { keyId } = await generateKey(kek.admin);
      await promoteKey(kek.admin, keyId);
      await kek.close();
      await use(host.open(settings), async (service) => assert.is((await seal(service)).keyId, keyId), true);
      await host.healed(host.open(settings));
    });
  }

  test('a key that can leave the token: the next key is made in it and promoted, and the data is rewritten', async () => {
    const label = 'extractable';
    const own = await sealedKey(shim, 1, async (options) => {
      const kek = openKek({ ...options, label });
      await generateKey({
        readManifest: () => kek.admin.readManifest(),
        writeManifest: (manifest, revision) => kek.admin.writeManifest(manifest, revision),
        createKey: async (keyId, contextId) => {
          mkdirSync(join(options.directory, 'keyset'), { mode: 0o700 });
          const id = Buffer.from(keyId).toString('hex');
          await importAesKey(softHsm, { id, label, value: randomBytes(32), extractable: true });
          return kek.traitsOf(keyId, contextId);
        },
        destroyKey: () => Promise.resolve(),
      });
      return kek;
    });
    const host = new Host(shim.pin, { ...own, label });
    const remedy = await advised(host.open(), 'make the next key in the token (teapot-kms keys generate ');
    assert.match(remedy, 'promote it, and rewrite the data');
    const kek = host.open();
    const { keyId } = await generateKey(kek.admin);
    await promoteKey(kek.admin, keyId);
    const findings = await kek.examine(patient());
    assert.not(
      findings.some(({ level, text }) => level !== 'ok' && text.includes(keyId)),
      'the new key is as it should be',
    );
    await use(kek, async (service) => {
      const [old] = own.envelopes;
      assert.equal(await service.decrypt(old!, patient()), old!.plaintext);
      const rewritten = await service.encrypt(old!.plaintext, patient());
      assert.is(rewritten.keyId, keyId);
      assert.equal(await service.decrypt(rewritten, patient()), old!.plaintext);
    });
  });
}

test.run();
