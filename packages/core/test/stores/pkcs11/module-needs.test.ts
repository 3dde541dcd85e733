import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { moduleNeeds } from '../../../src/stores/pkcs11/module-needs.ts';

for (const [module, expected] of [
  [{ path: '/usr/lib/opencryptoki/libopencryptoki.so' }, /^start pkcsslotd, .* group pkcs11$/],
  [{ path: '/usr/lib/x86_64-linux-gnu/pkcs11/libtpm2_pkcs11.so' }, /TPM2_PKCS11_TCTI.* group tss$/],
  [{ path: '/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so' }, /P11_KIT_SERVER_ADDRESS/],
  [{ name: 'opensc-pkcs11' }, /^start pcscd/],
  [{ name: 'softhsm2' }, /SOFTHSM2_CONF/],
  [{ name: 'softokn3' }, /libraryParameters/],
] as const) {
  test(`what ${Object.values(module)[0]!} needs is guessed at`, () => {
    assert.match(moduleNeeds(module) ?? '', expected);
  });
}

test('nothing is said of a module that is not known, whatever its directory is called', () => {
  assert.is(moduleNeeds({ path: '/opt/softhsm2/vendor.so' }), undefined);
});

test.run();
