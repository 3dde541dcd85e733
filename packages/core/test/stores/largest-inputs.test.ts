// The largest input that each parser accepts, and the time that it takes: a figure, which no assertion depends on. What is larger is refused.
import { message, rejectsWithCode, secretObject, statusObject } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatManifest, MAX_KEYS_TO_GROW, parseManifest } from '../../src/keyset/manifest.ts';
import { parseIni } from '../../src/stores/barbican/keystone/cloud-conf.ts';
import { errorBody, parseJson } from '../../src/stores/barbican/keystone/answers.ts';
import { fieldsOfCloudsYaml } from '../../src/stores/barbican/keystone/clouds-yaml.ts';
import { parseSecret, parseStatus } from '../../src/stores/k8s-secret/protobuf.ts';
import { safeText } from '../../src/util/safe-text.ts';
import { figure } from '../support/figure.ts';
import { manifestOf } from '../support/manifests.ts';

/** Runs `parse` three times, because what runs for the first time is not compiled yet, and prints the CPU time of the last one. */
function shown<T>(what: string, parse: () => T): T {
  let [parsed, ms] = [undefined as T, 0];
  for (let run = 0; run < 3; run++) {
    const before = process.cpuUsage();
    parsed = parse();
    ms = process.cpuUsage(before).user / 1000;
  }
  figure(`largest input, ${what}: ${ms.toFixed(1)} ms of CPU time`);
  return parsed;
}

const KIB = 1024;
const wanted = { namespace: 'ns', name: 's' };

test('a text of 4 MB for an error', () => {
  const text = 'ä\n '.repeat((4_000 * KIB) / 3);
  assert.is(shown('safeText, 4 MB', () => safeText(text)).length, 300);
});

test('a Status and a kind of 1.4 MB', async () => {
  const text = 'ä '.repeat(470 * KIB);
  const status = statusObject('NotFound', text);
  assert.is(shown('parseStatus, 1.4 MB', () => parseStatus(status))?.message.length, 300);
  const kind = Buffer.concat([Buffer.from('k8s\0'), message([1, message([2, text])], [2, ''])]);
  await rejectsWithCode(() => parseSecret(kind, wanted), 'ERR_KMS_STORE_UNAVAILABLE');
});

test('a Secret of 6,600 entries; one of 7,000 is refused', async () => {
  const secretOf = (entries: number): Buffer =>
    secretObject({
      name: 's',
      data: Object.fromEntries(Array.from({ length: entries }, (_, i) => [`k${i}`, Buffer.alloc(32)])),
    });
  const largest = secretOf(6_600);
  assert.is(shown('parseSecret, 6,600 entries', () => parseSecret(Buffer.from(largest), wanted)).data.size, 6_600);
  await rejectsWithCode(() => parseSecret(secretOf(7_000), wanted), 'ERR_KMS_STORE_UNAVAILABLE');
});

test('JSON of 512 KiB, and an error of 64 KiB', () => {
  const json = (kib: number): Buffer => Buffer.from(`[${'{},'.repeat((kib * KIB) / 3 - 2)}{}]`);
  const [answer, error] = [json(512), json(64)];
  assert.ok(Array.isArray(shown('JSON, 512 KiB', () => parseJson(answer))));
  shown('an error in JSON, 64 KiB', () => errorBody({ status: 400, headers: {}, body: error }));
});

test('a cloud.conf of 64 KiB', () => {
  const text = `[Global]\n${'a=1\n'.repeat(16 * KIB - 3)}`;
  assert.is(shown('parseIni, 64 KiB', () => parseIni(text, 'cloud.conf')).size, 1);
});

test('a clouds.yaml of 15,000 tokens, which are 570 clouds; more are refused', async () => {
  const cloudsOf = (count: number): string =>
    `clouds:\n${Array.from({ length: count }, (_, i) => `  c${i}:\n    auth:\n      auth_url: https://k\n      username: u\n`).join('')}`;
  const text = cloudsOf(570);
  const fields = shown('clouds.yaml, 570 clouds', () => fieldsOfCloudsYaml(text, undefined, 'c7', 'clouds.yaml'));
  assert.is(fields('username'), 'u');
  await rejectsWithCode(() => fieldsOfCloudsYaml(cloudsOf(1_500), undefined, 'c7', 'x'), 'ERR_KMS_STORE_UNAVAILABLE');
});

test('a manifest of as many keys as one gets, and of 1,000 keys, which an older plugin may have written', () => {
  for (const count of [MAX_KEYS_TO_GROW, 1_000]) {
    const traits = { check: '00'.repeat(16), secret: '0a1b2c3d-0000-4000-8000-000000000002' };
    const keys = manifestOf(...Array.from({ length: count }, () => 'promoted' as const)).keys;
    const version2 = { formatVersion: 2, contextId: '00'.repeat(16), generation: 1, primary: 'key-0' } as const;
    const text = formatManifest({ ...version2, keys: keys.map((key) => ({ ...key, ...traits })) });
    const parsed = shown(`manifest, ${count} keys`, () => parseManifest(text, 'keyset.yaml'));
    assert.is(parsed.keys.length, count);
  }
});

test.run();
