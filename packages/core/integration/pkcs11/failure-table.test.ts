// Design §6, the rows about a token that is away or that stumbles: each test asserts every column, and the recovery.
import type { Shim } from '@teapot-kms/testing/daemons';
import { figure, fullRun } from '@teapot-kms/testing';
import assert from 'node:assert/strict';
import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import { ALL_WELL, CKR, Rig, sealedKey, shimmedToken } from './support/rig.ts';
import type { SealedKey } from './support/rig.ts';
import { newDirectory } from './support/tokens.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

const UNAVAILABLE = 'ERR_KMS_STORE_UNAVAILABLE';
const YOUNG = { encrypt: 'works', cached: 'works', cold: UNAVAILABLE, status: 'ok' } as const;
const AWAY = /no token with label/;
const NOTHING = { encrypt: UNAVAILABLE, cached: UNAVAILABLE, cold: UNAVAILABLE, status: UNAVAILABLE } as const;

/** Trouble that lasts until it is mended, with what Status says of it after the grace time. */
const lasting: readonly (readonly [name: string, order: string, says: RegExp])[] = [
  ['the token is away', 'token absent', AWAY],
  ['sessions are lost again and again', `fail C_DecryptInit ${CKR.sessionHandleInvalid}`, /CKR_SESSION_HANDLE_INVALID/],
  ['the user is logged out again and again', `fail C_DecryptInit ${CKR.userNotLoggedIn}`, /CKR_USER_NOT_LOGGED_IN/],
  ['CKR_DEVICE_ERROR for good', `fail C_DecryptInit ${CKR.deviceError}`, /CKR_DEVICE_ERROR/],
  [
    'CKR_FUNCTION_FAILED for good, and the operation stuck',
    `fail C_Decrypt ${CKR.functionFailed}`,
    /CKR_FUNCTION_FAILED/,
  ],
  ['the module crashes at each use', 'segfault C_Decrypt', /token host: it ended by itself, by SIGSEGV/],
  ['the module hangs at each use', 'hang C_Decrypt', /token host: the module hung/],
];

/** Those that also a start meets in its own way. */
const FROM_THE_START = ['token absent', `fail C_DecryptInit ${CKR.deviceError}`];

/** Trouble that nobody must notice: done once more, on a new session or in a new token host. */
const passing: readonly (readonly [name: string, order: string, starts: number, logins: number])[] = [
  ['a lost session', `fail C_DecryptInit ${CKR.sessionHandleInvalid} 1`, 1, 1],
  ['a token that was reset, login and all', 'token reset', 1, 2],
  ['CKR_DEVICE_REMOVED once', `fail C_DecryptInit ${CKR.deviceRemoved} 1`, 1, 1],
  ['a user who was logged out', `fail C_DecryptInit ${CKR.userNotLoggedIn} 1`, 1, 1],
  ['CKR_DEVICE_ERROR once', `fail C_Decrypt ${CKR.deviceError} 1`, 1, 1],
  ['CKR_FUNCTION_FAILED once, after the token has done it', `fail-after C_Decrypt ${CKR.functionFailed} 1`, 1, 1],
  ['a crash of the module', 'segfault C_Decrypt 1', 2, 2],
  ['a module that hangs', 'hang C_Decrypt 1', 2, 2],
];

if (!fullRun)
  console.log('only with TEAPOT_TEST_FULL=1, as it takes minutes: passing trouble in Encrypt; in Decrypt it is run');
const token = await shimmedToken('the failure table on SoftHSM2');
if (token) register(token.shim, await sealedKey(token.shim, 8));

function register(shim: Shim, key: SealedKey): void {
  for (const [name, order, says] of lasting) {
    // No shorter: a token host that is starved would count as hung.
    const settings = order.startsWith('hang') ? { callTimeout: '3s' } : {};
    test(`at run time: ${name}`, () =>
      Rig.started({ shim, key, settings }, async (rig) => {
        shim.orders(order);
        await rig.probeFails();
        await rig.expect(YOUNG);
        rig.clock.skip(3 * MINUTE);
        await rig.settles({ encrypt: 'works', cached: 'works', status: says });
        shim.clear();
        await rig.settles(ALL_WELL);
      }));
  }

  for (const [name, order, starts, logins] of passing) {
    // Encrypt meets the token in direct mode only.
    const both = [
      ['', order, false] as const,
      ...(fullRun ? [[', in direct mode and in Encrypt', order.replace('C_Decrypt', 'C_Encrypt'), true] as const] : []),
    ];
    const settings = order.startsWith('hang') ? { callTimeout: '3s' } : {};
    for (const [where, order, direct] of both) {
      test(`nobody notices ${name}${where}`, () =>
        // The probe must not be who meets it.
        Rig.started({ shim, key, settings, service: { probeIntervalMs: HOUR, direct } }, async (rig) => {
          shim.orders(order);
          await rig.expect(ALL_WELL);
          if (order.endsWith(' 1')) assert.equal(shim.fired(order), 1);
          assert.equal(rig.counter('probe_failures'), 0);
          assert.equal(rig.counter('token_host_starts'), starts);
          assert.equal(shim.calls('C_Login'), logins);
        }));
    }
  }

  test('in direct mode nothing works while the token is away, and Status says so after the grace time', () =>
    Rig.started({ shim, key, service: { direct: true } }, async (rig) => {
      shim.orders('token absent');
      await rig.probeFails();
      await rig.expect({ ...NOTHING, status: 'ok' });
      rig.clock.skip(3 * MINUTE);
      await rig.settles({ ...NOTHING, status: AWAY });
      shim.clear();
      await rig.settles(ALL_WELL);
    }));

  test('with the settings as they are a Decrypt whose module hangs is answered by the next host', () =>
    Rig.started(
      { shim, key, settings: { callTimeout: undefined }, service: { probeIntervalMs: HOUR } },
      async (rig) => {
        shim.orders('hang C_Decrypt 1');
        const started = performance.now();
        await rig.opens(rig.cold());
        const tookMs = performance.now() - started;
        figure(
          'a Decrypt whose module hangs, with the settings as they are; kube-apiserver waits 3,000',
          `${tookMs.toFixed(0)} ms`,
        );
        // On a starved machine the next one counts as hung too.
        const starts = rig.counter('token_host_starts');
        assert.ok(starts === 2 || starts === 3, `${String(starts)} starts`);
        assert.equal(rig.counter('token_host_retries'), starts - 1);
      },
    ));

  test('with the token away keys in memory are used up to their hard age', () =>
    Rig.started({ shim, key }, async (rig) => {
      shim.orders('token absent');
      await rig.probeFails();
      rig.clock.skip(23 * HOUR);
      await rig.settles({ ...YOUNG, status: AWAY });
      rig.clock.skip(2 * HOUR);
      await rig.settles({ ...NOTHING, status: AWAY });
      shim.clear();
      await rig.settles(ALL_WELL);
    }));

  for (const [name, order] of lasting.filter(([, order]) => FROM_THE_START.includes(order))) {
    test(`at the start: ${name}`, () =>
      Rig.prepared({ shim, key }, async (rig) => {
        shim.orders(order);
        rig.open();
        await rig.probeFails();
        await rig.expect(NOTHING);
        shim.clear();
        await rig.settles(ALL_WELL);
      }));
  }

  test('at the start: the module is not installed yet', () =>
    Rig.prepared({ shim, key }, async (rig) => {
      const module = join(newDirectory(), 'module.so');
      const { env, label, pin, pinFile, directory } = shim;
      rig.open({ token: { env, label, pin, pinFile, directory, module } });
      await rig.probeFails();
      await rig.expect(NOTHING);
      symlinkSync(shim.module, module);
      await rig.settles(ALL_WELL);
    }));
}

test.run();
