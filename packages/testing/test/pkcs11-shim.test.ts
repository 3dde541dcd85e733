import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import pkcs11js from 'pkcs11js';
import type { Handle } from 'pkcs11js';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Shim, SoftHsm } from '../src/daemons/index.ts';
import { figure, until } from '../src/index.ts';
import { ckr, inSession, load, newDirectory, openSession } from './support/session.ts';

/** CKF_TOKEN_PRESENT, which the types of pkcs11js do not have. */
const TOKEN_PRESENT = 1;

const hsm = await SoftHsm.create(newDirectory());
const shim = Shim.over(hsm);
const loaded = load(shim);
const { p11, slot } = loaded;
const login = openSession(loaded);
p11.C_Login(login, pkcs11js.CKU_USER, hsm.pin);
const key = p11.C_GenerateKey(login, { mechanism: pkcs11js.CKM_AES_KEY_GEN }, [
  { type: pkcs11js.CKA_TOKEN, value: true },
  { type: pkcs11js.CKA_VALUE_LEN, value: 32 },
]);

const random = (session: Handle) => p11.C_GenerateRandom(session, Buffer.alloc(8));
const gcm = (iv: Buffer) => ({
  mechanism: pkcs11js.CKM_AES_GCM,
  parameter: { type: pkcs11js.CK_PARAMS_AES_GCM_v240, iv, ivBits: 96, tagBits: 128 },
});
const decryptInit = (session: Handle) => p11.C_DecryptInit(session, gcm(Buffer.alloc(12, 1)), key);

/** A process that calls C_GenerateRandom this often. */
function startCaller(count: number): {
  ended: Promise<{ signal: string | null; codes: number[]; stderr: string }>;
  kill: () => void;
} {
  const script = join(import.meta.dirname, 'support/call-token.ts');
  const child = spawn(process.execPath, ['--conditions=teapot-source', script, String(count)]);
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const { env, module, label } = shim;
  child.stdin.end(JSON.stringify({ env, module, label }));
  const ended = once(child, 'close').then(([, signal]) => ({
    signal: signal as string | null,
    codes: stdout.split('\n').filter(Boolean).map(Number),
    stderr,
  }));
  return { ended, kill: () => child.kill('SIGKILL') };
}

test.before.each(() => {
  shim.clear();
  shim.resetCounters();
});

test('without orders, calls arrive at the token and are counted', () => {
  const session = openSession(loaded);
  for (let i = 0; i < 3; i++) random(session);
  p11.C_CloseSession(session);
  assert.equal(shim.snapshot(), { C_OpenSession: 1, C_GenerateRandom: 3, C_CloseSession: 1 });
  assert.is(shim.calls('C_GenerateRandom'), 3);
});

test('all functions are counted under their own names', () => {
  inSession(loaded, (session) => {
    p11.C_EncryptInit(session, gcm(Buffer.alloc(12, 2)), key);
    p11.C_Encrypt(session, Buffer.alloc(4), Buffer.alloc(20));
    p11.C_GetSessionInfo(session);
    p11.C_FindObjectsInit(session, []);
    p11.C_FindObjectsFinal(session);
    p11.C_SeedRandom(session, Buffer.alloc(4));
  });
  p11.C_GetInfo();
  p11.C_GetMechanismList(slot);
  assert.equal(shim.snapshot(), {
    C_GetInfo: 1,
    C_GetMechanismList: 2,
    C_OpenSession: 1,
    C_CloseSession: 1,
    C_GetSessionInfo: 1,
    C_FindObjectsInit: 1,
    C_FindObjectsFinal: 1,
    C_EncryptInit: 1,
    C_Encrypt: 1,
    C_SeedRandom: 1,
  });
});

test('a call without orders costs less than a microsecond more than without the shim', () => {
  // The dynamic linker loads SoftHSM2 once, so this is the one behind the shim, already initialised.
  const direct = new pkcs11js.PKCS11();
  direct.load(hsm.module);
  const nsOf = (module: pkcs11js.PKCS11): number => {
    const started = performance.now();
    for (let i = 0; i < 10_000; i++) module.C_GetSessionInfo(login);
    return ((performance.now() - started) * 1e6) / 10_000;
  };
  const rounds = Array.from({ length: 20 }, () => [nsOf(p11), nsOf(direct)] as const);
  const best = (pick: 0 | 1) => Math.min(...rounds.map((round) => round[pick]));
  const more = best(0) - best(1);
  figure('PKCS#11 shim, ns a call', `${more.toFixed(0)} (of ${best(0).toFixed(0)} through pkcs11js)`);
  assert.ok(more < 1000, `${more} ns`);
});

test('latency: a call takes that much longer', () => {
  shim.orders('latency C_GenerateRandom 20.5');
  const started = performance.now();
  random(login);
  const took = performance.now() - started;
  assert.ok(took >= 20.5 && took < 500, `${took} ms`);
});

test('latency: orders add up, and other functions are not slower', () => {
  shim.orders('latency C_GenerateRandom 5', 'latency * 5', 'latency C_Decrypt 10000');
  const started = performance.now();
  random(login);
  const took = performance.now() - started;
  assert.ok(took >= 10 && took < 500, `${took} ms`);
});

test('fail: COUNT calls fail with the code and do not reach the token', () => {
  shim.orders('fail C_DecryptInit 0x30 2');
  inSession(loaded, (session) => {
    assert.is(
      ckr(() => decryptInit(session)),
      pkcs11js.CKR_DEVICE_ERROR,
    );
    assert.is(
      ckr(() => decryptInit(session)),
      pkcs11js.CKR_DEVICE_ERROR,
    );
    // Were an operation active in the token, this would fail.
    assert.is(
      ckr(() => decryptInit(session)),
      pkcs11js.CKR_OK,
    );
  });
  assert.is(shim.fired('fail C_DecryptInit 0x30 2'), 2);
});

test('fail: without COUNT, until the orders are replaced', () => {
  shim.orders('fail C_GenerateRandom 48');
  for (let i = 0; i < 10; i++)
    assert.is(
      ckr(() => random(login)),
      pkcs11js.CKR_DEVICE_ERROR,
    );
  shim.clear();
  assert.is(
    ckr(() => random(login)),
    pkcs11js.CKR_OK,
  );
});

test('fail: of several orders for a function, the next holds when the first is used up', () => {
  shim.orders('fail C_GenerateRandom 0x30 1', 'fail C_GenerateRandom 0x32 1');
  const codes = [1, 2, 3].map(() => ckr(() => random(login)));
  assert.equal(codes, [pkcs11js.CKR_DEVICE_ERROR, pkcs11js.CKR_DEVICE_REMOVED, pkcs11js.CKR_OK]);
});

test('fail: * stands for every function', () => {
  shim.orders('fail * 0x30');
  assert.is(
    ckr(() => p11.C_GetInfo()),
    pkcs11js.CKR_DEVICE_ERROR,
  );
  assert.is(
    ckr(() => p11.C_GetSlotList(true)),
    pkcs11js.CKR_DEVICE_ERROR,
  );
  assert.is(
    ckr(() => random(login)),
    pkcs11js.CKR_DEVICE_ERROR,
  );
});

test('fail-after: the token has done it all the same', () => {
  shim.orders('fail-after C_DecryptInit 0x30 1');
  inSession(loaded, (session) => {
    assert.is(
      ckr(() => decryptInit(session)),
      pkcs11js.CKR_DEVICE_ERROR,
    );
    assert.is(
      ckr(() => decryptInit(session)),
      pkcs11js.CKR_OPERATION_ACTIVE,
    );
  });
});

test('orders given again count anew', () => {
  for (let round = 0; round < 3; round++) {
    shim.orders('fail C_GenerateRandom 0x30 1');
    assert.is(shim.fired('fail C_GenerateRandom 0x30 1'), 0);
    assert.is(
      ckr(() => random(login)),
      pkcs11js.CKR_DEVICE_ERROR,
    );
    assert.is(
      ckr(() => random(login)),
      pkcs11js.CKR_OK,
    );
  }
});

test('calls and what is left of a COUNT are summed over processes, at once and one after the other', async () => {
  shim.orders('fail C_GenerateRandom 0x30 5');
  const first = await startCaller(3).ended;
  const both = await Promise.all([startCaller(3).ended, startCaller(3).ended]);
  assert.equal(first.codes, [48, 48, 48], first.stderr);
  assert.is(both.flatMap(({ codes }) => codes).filter((code) => code === 48).length, 2);
  assert.is(shim.calls('C_GenerateRandom'), 9);
  assert.is(shim.calls('C_Initialize'), 3);
});

test('threads at once: no call is lost, and exactly COUNT fail', async () => {
  shim.orders('fail C_GenerateRandom 0x30 700');
  const failed = await Promise.all(
    Array.from({ length: 4 }, async () => {
      const workerData = { module: shim.module, label: shim.label, count: 2000 };
      const worker = new Worker(new URL('support/call-in-threads.ts', import.meta.url), { workerData });
      // Asked for before: it may come in the same turn as the message.
      const exited = once(worker, 'exit');
      const [count] = (await once(worker, 'message')) as [number];
      await exited;
      return count;
    }),
  );
  assert.is(
    failed.reduce((sum, count) => sum + count),
    700,
  );
  assert.is(shim.calls('C_GenerateRandom'), 8000);
});

test('hang: the call never returns, and is counted', async () => {
  shim.orders('hang C_GenerateRandom 1');
  const caller = startCaller(2);
  await until('it is called', () => shim.calls('C_GenerateRandom') === 1, { everyMs: 5 });
  await sleep(100);
  shim.clear();
  const waited = await Promise.race([caller.ended, sleep(100, 'still there')]);
  assert.is(waited, 'still there');
  caller.kill();
  assert.equal((await caller.ended).codes, []);
});

test('segfault: the process dies of it', async () => {
  shim.orders('segfault C_GenerateRandom 1');
  const { signal, codes } = await startCaller(2).ended;
  assert.is(signal, 'SIGSEGV');
  assert.equal(codes, []);
  assert.equal((await startCaller(2).ended).codes, [0, 0]);
});

test('random: about that many calls of the functions named fail', () => {
  shim.orders('random 250 0x30 C_GenerateRandom C_GetSessionInfo');
  let failed = 0;
  for (let i = 0; i < 2000; i++) {
    failed += ckr(() => random(login)) === pkcs11js.CKR_DEVICE_ERROR ? 1 : 0;
    failed += ckr(() => p11.C_GetSessionInfo(login)) === pkcs11js.CKR_DEVICE_ERROR ? 1 : 0;
    p11.C_GetInfo();
  }
  // 1000, with a standard deviation of 27.
  assert.ok(failed > 730 && failed < 1270, `${failed} of 4000`);
  assert.is(shim.fired('random 250 0x30 C_GenerateRandom C_GetSessionInfo'), failed);
});

test('random: 0 in 1000 is never, 1000 always', () => {
  shim.orders('random 0 0x30 C_GenerateRandom', 'random 1000 0x30 C_GetSessionInfo');
  for (let i = 0; i < 100; i++) {
    assert.is(
      ckr(() => random(login)),
      pkcs11js.CKR_OK,
    );
    assert.is(
      ckr(() => p11.C_GetSessionInfo(login)),
      pkcs11js.CKR_DEVICE_ERROR,
    );
  }
});

test('mechanisms only: the others are not listed, and refused', () => {
  const { CKM_RSA_PKCS_OAEP, CKM_AES_KEY_WRAP, CKM_AES_GCM, CKR_MECHANISM_INVALID } = pkcs11js;
  shim.orders(`mechanisms only ${CKM_RSA_PKCS_OAEP},${CKM_AES_KEY_WRAP},0x99999`);
  assert.equal(p11.C_GetMechanismList(slot).sort(), [CKM_RSA_PKCS_OAEP, CKM_AES_KEY_WRAP].sort());
  assert.ok(p11.C_GetMechanismInfo(slot, CKM_AES_KEY_WRAP).flags > 0);
  assert.is(
    ckr(() => p11.C_GetMechanismInfo(slot, CKM_AES_GCM)),
    CKR_MECHANISM_INVALID,
  );
  inSession(loaded, (session) =>
    assert.is(
      ckr(() => decryptInit(session)),
      CKR_MECHANISM_INVALID,
    ),
  );
});

test('gcm-iv own: an IV of the caller is refused, one of zeros replaced by the IV that was used', () => {
  shim.orders('gcm-iv own');
  inSession(loaded, (session) => {
    const refused = ckr(() => p11.C_EncryptInit(session, gcm(Buffer.alloc(12, 1)), key));
    assert.is(refused, pkcs11js.CKR_MECHANISM_PARAM_INVALID);
    const [iv, other] = [Buffer.alloc(12), Buffer.alloc(12)];
    p11.C_EncryptInit(session, gcm(iv), key);
    const ciphertext = p11.C_Encrypt(session, Buffer.from('tea'), Buffer.alloc(19));
    assert.not.equal(iv, Buffer.alloc(12));
    p11.C_DecryptInit(session, gcm(iv), key);
    assert.is(p11.C_Decrypt(session, ciphertext, Buffer.alloc(19)).toString(), 'tea');
    p11.C_EncryptInit(session, gcm(other), key);
    assert.not.equal(iv, other);
  });
});

test('an unknown function is refused at once', () => {
  assert.throws(() => shim.orders('fail C_Descrypt 0x30'), /no function C_Descrypt/);
  assert.throws(() => shim.calls('C_Descrypt'), /no function C_Descrypt/);
});

for (const line of [
  'explode C_Decrypt',
  'fail C_Decrypt',
  'fail C_Decrypt CKR_DEVICE_ERROR',
  'latency C_Decrypt',
  'hang',
  'token',
  'fail C_Decrypt 1 2 3',
]) {
  test(`a line that cannot be followed ends the process: ${line}`, async () => {
    shim.orders(line);
    const { signal, stderr } = await startCaller(1).ended;
    shim.clear();
    assert.is(signal, 'SIGABRT');
    assert.match(stderr, line);
  });
}

// These end the login, which others need.
test('token absent: no slot has it, its sessions are gone, and stay so when it is back', () => {
  const session = openSession(loaded);
  shim.orders('token absent');
  assert.is(p11.C_GetSlotList(true).length, 0);
  assert.is.not(p11.C_GetSlotList(false).length, 0);
  assert.is(p11.C_GetSlotInfo(slot).flags & TOKEN_PRESENT, 0);
  assert.is(
    ckr(() => p11.C_GetTokenInfo(slot)),
    pkcs11js.CKR_TOKEN_NOT_PRESENT,
  );
  assert.is(
    ckr(() => p11.C_GetMechanismList(slot)),
    pkcs11js.CKR_TOKEN_NOT_PRESENT,
  );
  assert.is(
    ckr(() => openSession(loaded)),
    pkcs11js.CKR_TOKEN_NOT_PRESENT,
  );
  assert.is(
    ckr(() => random(session)),
    pkcs11js.CKR_DEVICE_REMOVED,
  );
  assert.is(
    ckr(() => p11.C_CloseSession(session)),
    pkcs11js.CKR_DEVICE_REMOVED,
  );
  shim.clear();
  assert.is.not(p11.C_GetSlotList(true).length, 0);
  assert.is(
    ckr(() => random(session)),
    pkcs11js.CKR_SESSION_HANDLE_INVALID,
  );
});

test('token reset: its sessions and login are gone, and new ones work', () => {
  const session = openSession(loaded);
  p11.C_Login(session, pkcs11js.CKU_USER, hsm.pin);
  shim.orders('token reset');
  assert.is(
    ckr(() => random(session)),
    pkcs11js.CKR_SESSION_HANDLE_INVALID,
  );
  inSession(loaded, (next) => {
    assert.is(
      ckr(() => p11.C_Login(next, pkcs11js.CKU_USER, hsm.pin)),
      pkcs11js.CKR_OK,
    );
  });
});

test.run();
