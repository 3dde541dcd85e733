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
import { until } from '../src/index.ts';
import { assertReturns, ckr, inSession, load, newDirectory, openSession } from './support/session.ts';

/** CKF_TOKEN_PRESENT. The types of pkcs11js lack it. */
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

/** Starts a process that calls C_GenerateRandom `count` times. */
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

test('without orders, calls reach the token and are counted', () => {
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

test('latency: a call takes longer by the given time', () => {
  shim.orders('latency C_GenerateRandom 20.5');
  const started = performance.now();
  random(login);
  const took = performance.now() - started;
  assert.ok(took >= 20.5, `${took} ms`);
});

test('latency: orders add up and do not delay other functions', () => {
  shim.orders('latency C_GenerateRandom 5', 'latency * 5', 'latency C_Decrypt 10000');
  const started = performance.now();
  random(login);
  const took = performance.now() - started;
  assert.ok(took >= 10 && took < 10_000, `${took} ms`);
});

test('fail: COUNT calls fail with the code and do not reach the token', () => {
  shim.orders('fail C_DecryptInit 0x30 2');
  inSession(loaded, (session) => {
    assertReturns(pkcs11js.CKR_DEVICE_ERROR, () => decryptInit(session));
    assertReturns(pkcs11js.CKR_DEVICE_ERROR, () => decryptInit(session));
    // This would fail if an operation were active in the token.
    assertReturns(pkcs11js.CKR_OK, () => decryptInit(session));
  });
  assert.is(shim.fired('fail C_DecryptInit 0x30 2'), 2);
});

test('fail: without COUNT, calls fail until the orders are replaced', () => {
  shim.orders('fail C_GenerateRandom 48');
  for (let i = 0; i < 10; i++) assertReturns(pkcs11js.CKR_DEVICE_ERROR, () => random(login));
  shim.clear();
  assertReturns(pkcs11js.CKR_OK, () => random(login));
});

test('fail: if a function has several orders, the next one applies when the first is used up', () => {
  shim.orders('fail C_GenerateRandom 0x30 1', 'fail C_GenerateRandom 0x32 1');
  const codes = [1, 2, 3].map(() => ckr(() => random(login)));
  assert.equal(codes, [pkcs11js.CKR_DEVICE_ERROR, pkcs11js.CKR_DEVICE_REMOVED, pkcs11js.CKR_OK]);
});

test('fail: * stands for every function', () => {
  shim.orders('fail * 0x30');
  assertReturns(pkcs11js.CKR_DEVICE_ERROR, () => p11.C_GetInfo());
  assertReturns(pkcs11js.CKR_DEVICE_ERROR, () => p11.C_GetSlotList(true));
  assertReturns(pkcs11js.CKR_DEVICE_ERROR, () => random(login));
});

test('fail-after: the token executes the call and the shim reports a failure', () => {
  shim.orders('fail-after C_DecryptInit 0x30 1');
  inSession(loaded, (session) => {
    assertReturns(pkcs11js.CKR_DEVICE_ERROR, () => decryptInit(session));
    assertReturns(pkcs11js.CKR_OPERATION_ACTIVE, () => decryptInit(session));
  });
});

test('repeated orders count from zero', () => {
  for (let round = 0; round < 3; round++) {
    shim.orders('fail C_GenerateRandom 0x30 1');
    assert.is(shim.fired('fail C_GenerateRandom 0x30 1'), 0);
    assertReturns(pkcs11js.CKR_DEVICE_ERROR, () => random(login));
    assertReturns(pkcs11js.CKR_OK, () => random(login));
  }
});

test('processes share the call counters and the COUNT of an order, in parallel and in sequence', async () => {
  shim.orders('fail C_GenerateRandom 0x30 5');
  const first = await startCaller(3).ended;
  const both = await Promise.all([startCaller(3).ended, startCaller(3).ended]);
  assert.equal(first.codes, [48, 48, 48], first.stderr);
  assert.is(both.flatMap(({ codes }) => codes).filter((code) => code === 48).length, 2);
  assert.is(shim.calls('C_GenerateRandom'), 9);
  assert.is(shim.calls('C_Initialize'), 3);
});

test('concurrent threads: every call is counted, and exactly COUNT fail', async () => {
  shim.orders('fail C_GenerateRandom 0x30 700');
  const failed = await Promise.all(
    Array.from({ length: 4 }, async () => {
      const workerData = { module: shim.module, label: shim.label, count: 2000 };
      const worker = new Worker(new URL('support/call-in-threads.ts', import.meta.url), { workerData });
      // The worker may exit in the same turn as the message, so this waits from the start.
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

test('hang: the call is counted and never returns', async () => {
  shim.orders('hang C_GenerateRandom 1');
  const caller = startCaller(2);
  await until('the token is called', () => shim.calls('C_GenerateRandom') === 1, { everyMs: 5 });
  await sleep(100);
  shim.clear();
  const waited = await Promise.race([caller.ended, sleep(100, 'running')]);
  assert.is(waited, 'running');
  caller.kill();
  assert.equal((await caller.ended).codes, []);
});

test('segfault: the process dies from SIGSEGV', async () => {
  shim.orders('segfault C_GenerateRandom 1');
  const { signal, codes } = await startCaller(2).ended;
  assert.is(signal, 'SIGSEGV');
  assert.equal(codes, []);
  assert.equal((await startCaller(2).ended).codes, [0, 0]);
});

test('random: calls of the named functions fail at about the given rate', () => {
  shim.orders('random 250 0x30 C_GenerateRandom C_GetSessionInfo');
  let failed = 0;
  for (let i = 0; i < 2000; i++) {
    failed += ckr(() => random(login)) === pkcs11js.CKR_DEVICE_ERROR ? 1 : 0;
    failed += ckr(() => p11.C_GetSessionInfo(login)) === pkcs11js.CKR_DEVICE_ERROR ? 1 : 0;
    p11.C_GetInfo();
  }
  // The expected number is 1000, with a standard deviation of 27.
  assert.ok(failed > 730 && failed < 1270, `${failed} of 4000`);
  assert.is(shim.fired('random 250 0x30 C_GenerateRandom C_GetSessionInfo'), failed);
});

test('random: 0 in 1000 never fails, 1000 in 1000 always fail', () => {
  shim.orders('random 0 0x30 C_GenerateRandom', 'random 1000 0x30 C_GetSessionInfo');
  for (let i = 0; i < 100; i++) {
    assertReturns(pkcs11js.CKR_OK, () => random(login));
    assertReturns(pkcs11js.CKR_DEVICE_ERROR, () => p11.C_GetSessionInfo(login));
  }
});

test('mechanisms only: other mechanisms are not listed and are rejected', () => {
  const { CKM_RSA_PKCS_OAEP, CKM_AES_KEY_WRAP, CKM_AES_GCM, CKR_MECHANISM_INVALID } = pkcs11js;
  shim.orders(`mechanisms only ${CKM_RSA_PKCS_OAEP},${CKM_AES_KEY_WRAP},0x99999`);
  assert.equal(p11.C_GetMechanismList(slot).sort(), [CKM_RSA_PKCS_OAEP, CKM_AES_KEY_WRAP].sort());
  assert.ok(p11.C_GetMechanismInfo(slot, CKM_AES_KEY_WRAP).flags > 0);
  assertReturns(CKR_MECHANISM_INVALID, () => p11.C_GetMechanismInfo(slot, CKM_AES_GCM));
  inSession(loaded, (session) =>
    assert.is(
      ckr(() => decryptInit(session)),
      CKR_MECHANISM_INVALID,
    ),
  );
});

test('gcm-iv own: the IV of the caller is rejected, and zeros are replaced by the IV of the token', () => {
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

test('an order for an unknown function is rejected', () => {
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
  test(`an invalid order aborts the process: ${line}`, async () => {
    shim.orders(line);
    const { signal, stderr } = await startCaller(1).ended;
    shim.clear();
    assert.is(signal, 'SIGABRT');
    assert.match(stderr, line);
  });
}

// The following tests end the login, which the tests above need.
test('token absent: no slot has the token, and its sessions are lost even when it is back', () => {
  const session = openSession(loaded);
  shim.orders('token absent');
  assert.is(p11.C_GetSlotList(true).length, 0);
  assert.is.not(p11.C_GetSlotList(false).length, 0);
  assert.is(p11.C_GetSlotInfo(slot).flags & TOKEN_PRESENT, 0);
  assertReturns(pkcs11js.CKR_TOKEN_NOT_PRESENT, () => p11.C_GetTokenInfo(slot));
  assertReturns(pkcs11js.CKR_TOKEN_NOT_PRESENT, () => p11.C_GetMechanismList(slot));
  assertReturns(pkcs11js.CKR_TOKEN_NOT_PRESENT, () => openSession(loaded));
  assertReturns(pkcs11js.CKR_DEVICE_REMOVED, () => random(session));
  assertReturns(pkcs11js.CKR_DEVICE_REMOVED, () => p11.C_CloseSession(session));
  shim.clear();
  assert.is.not(p11.C_GetSlotList(true).length, 0);
  assertReturns(pkcs11js.CKR_SESSION_HANDLE_INVALID, () => random(session));
});

test('token reset: sessions and login are lost, and new ones work', () => {
  const session = openSession(loaded);
  p11.C_Login(session, pkcs11js.CKU_USER, hsm.pin);
  shim.orders('token reset');
  assertReturns(pkcs11js.CKR_SESSION_HANDLE_INVALID, () => random(session));
  inSession(loaded, (next) => {
    assertReturns(pkcs11js.CKR_OK, () => p11.C_Login(next, pkcs11js.CKU_USER, hsm.pin));
  });
});

test.run();
