// What a node's reboot is for a token: everything at once, and nothing cached.
import { figure, until } from '@teapot-kms/testing';
import assert from 'node:assert/strict';
import { test } from 'uvu';
import { Rig, sealedKey, shimmedToken } from './support/rig.ts';

const HOUR = 3_600_000;
const DECRYPTS = 10_000;
const KEYS = 500;
const LATENCY_MS = 5;
const SESSIONS = 8;

const parts = await shimmedToken('a storm of Decrypts on SoftHSM2');
if (parts) {
  const { shim } = parts;
  // The rig keeps the first for its cache, and takes some to see that all is well.
  const key = await sealedKey(shim, KEYS + 2);
  const rigOptions = { shim, key, settings: { sessions: SESSIONS }, service: { probeIntervalMs: HOUR } };

  test('ten thousand Decrypts over five hundred keys are five hundred token calls, and fewer messages', () =>
    Rig.started(rigOptions, async (rig) => {
      const envelopes = Array.from({ length: KEYS }, () => rig.cold());
      shim.orders(`latency C_Decrypt ${String(LATENCY_MS)}`);
      shim.resetCounters();
      const messages = rig.counter('token_host_messages');
      const calls = rig.counter('token_host_calls');
      const contexts = Array.from({ length: DECRYPTS }, () => ({ signal: new AbortController().signal }));
      const started = performance.now();
      const opened = contexts.map((context, i) => rig.opens(envelopes[(i * 7) % KEYS]!, context));
      await Promise.all(opened);
      const tookMs = performance.now() - started;
      assert.equal(shim.calls('C_Decrypt'), KEYS);
      assert.equal(shim.calls('C_DecryptInit'), KEYS);
      assert.equal(rig.counter('token_host_calls') - calls, KEYS);
      assert.equal(rig.counter('token_host_starts'), 1);
      const between = rig.counter('token_host_messages') - messages;
      const idealMs = (KEYS * LATENCY_MS) / SESSIONS;
      figure('storm on a token of 5 ms a call: token calls', KEYS);
      figure('storm on a token of 5 ms a call: messages over the pipe', between);
      figure(
        'storm on a token of 5 ms a call: time',
        `${tookMs.toFixed(0)} ms; ${idealMs.toFixed(0)} ms is what the token takes`,
      );
      assert.ok(between < KEYS, `${String(between)} messages`);
    }));

  test('every session is used', () =>
    Rig.started(rigOptions, async (rig) => {
      shim.orders('latency C_Decrypt 100');
      // The first call does not wait for all threads to load, and these may be among the first.
      const each = async (): Promise<boolean> => {
        await Promise.all(Array.from({ length: SESSIONS }, () => rig.opens(rig.cold())));
        return rig.counter('token_sessions_opened') === SESSIONS;
      };
      await until('each thread has a session', each, { everyMs: 500 });
    }));

  test('a single unwrap waits for no batch', () =>
    Rig.started(rigOptions, async (rig) => {
      const times: number[] = [];
      for (let i = 0; i < 200; i++) {
        const sealed = rig.cold();
        const messages = rig.counter('token_host_messages');
        const started = performance.now();
        await rig.opens(sealed);
        times.push(performance.now() - started);
        // One there, one back, at once.
        assert.equal(rig.counter('token_host_messages') - messages, 2);
      }
      const [p50, p99] = [0.5, 0.99].map((share) => times.toSorted((a, b) => a - b)[times.length * share]!);
      figure('a cold Decrypt alone, token of 15–30 µs', `p50 ${p50!.toFixed(2)} ms, p99 ${p99!.toFixed(2)} ms`);
    }));

  test('what waits for a slow token does not count as hung', () => {
    const settings = { sessions: 1, callTimeout: '3s' };
    return Rig.started({ shim, key, settings, service: { probeIntervalMs: HOUR } }, async (rig) => {
      shim.orders('latency C_Decrypt 700');
      await Promise.all(Array.from({ length: 5 }, () => rig.opens(rig.cold())));
      assert.equal(rig.counter('token_host_starts'), 1);
    });
  });

  test('when the plugin itself stands still, its token host does not count as hung', () =>
    Rig.started(rigOptions, async (rig) => {
      shim.orders(`latency C_Decrypt ${String(LATENCY_MS)}`);
      // So that the event loop, when it goes on, comes to its timers before it reads what has come.
      await new Promise((resolve) => setTimeout(resolve, 2_500));
      const opened = Array.from({ length: 100 }, () => rig.opens(rig.cold()));
      await new Promise<void>((resolve) => {
        setImmediate(() => {
          const until = performance.now() + 1_500;
          while (performance.now() < until);
          resolve();
        });
      });
      await Promise.all(opened);
      assert.equal(rig.counter('token_host_starts'), 1);
    }));

  test('in direct mode each Decrypt is a use of the key in the token, of the same ciphertext too', () =>
    Rig.started({ ...rigOptions, service: { direct: true, probeIntervalMs: HOUR } }, async (rig) => {
      const sealed = rig.cold();
      shim.resetCounters();
      await Promise.all(Array.from({ length: 20 }, () => rig.opens(sealed)));
      assert.equal(shim.calls('C_Decrypt'), 20);
    }));
}

test.run();
