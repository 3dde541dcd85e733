// Whatever an exec plugin prints, a run delivers an identity or is refused with an error of ours, without what may be a secret.
import { newDirectory, rememberSecret } from '@teapot-kms/testing';
import { randomInt } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { KmsError } from '../../../../src/errors.ts';
import { readCredential, runPlugin } from '../../../../src/stores/k8s-secret/kubeconfig/exec-plugin.ts';
import type { PluginCall } from '../../../../src/stores/k8s-secret/kubeconfig/exec-plugin.ts';
import { systemClock } from '../../../../src/util/clock.ts';
import { patient } from '../../../support/context.ts';
import { fuzz, fuzzRuns } from '../../../support/fuzz.ts';
import { damaged, loadAgainAndAgain, mutated, Random } from '../../../support/random-answers.ts';

/** 10^5 in the full run. */
const RUNS = Math.min(fuzzRuns(1_000), 100_000);
/** `TEAPOT_FUZZ_SEED` repeats a run. */
const SEED = Number(process.env['TEAPOT_FUZZ_SEED'] ?? randomInt(2 ** 31));
/** A process for each: many in the full run only. */
const PROCESSES = Math.min(fuzzRuns(25), 2_000);

const TOKEN = 'a-token-of-exec-plugin-answers';
rememberSecret(Buffer.from(TOKEN));
const V1 = 'client.authentication.k8s.io/v1';
const CREDENTIAL = {
  kind: 'ExecCredential',
  apiVersion: V1,
  status: { token: TOKEN, expirationTimestamp: '2030-01-02T03:04:05Z', clientCertificateData: '', clientKeyData: '' },
};

const callOf = (command: string): PluginCall => ({
  where: 'FILE: user "u": exec',
  command,
  args: [],
  env: [['SECRET', TOKEN]],
  apiVersion: V1,
  info: '{}',
  installHint: undefined,
});

/** What a plugin prints: right, nearly right, or anything. */
function printed(random: Random): Buffer {
  const right = Buffer.from(JSON.stringify(CREDENTIAL));
  if (random.oneIn(6)) return right;
  if (random.oneIn(10)) return random.bytes(random.below(300));
  const nearly = random.oneIn(2) ? Buffer.from(JSON.stringify(mutated(CREDENTIAL, random))) : right;
  return random.oneIn(3) ? damaged(nearly, random) : nearly;
}

/** Well-formed, short, and without the token. */
function checkError(error: unknown): void {
  assert.instance(error, KmsError);
  const { message, remedy = '' } = error as KmsError;
  assert.ok(message.isWellFormed() && !/\p{C}/u.test(message), JSON.stringify(message));
  assert.ok(message.length < 600, message);
  assert.not.ok(`${message} ${remedy}`.includes(TOKEN), message);
}

test(`${RUNS} random texts of an exec plugin (seed ${SEED})`, async () => {
  const random = new Random(SEED);
  const call = callOf('/plugin');
  const outcomes = { read: 0, refused: 0 };
  const { heapGrowthMb } = await fuzz('what an exec plugin prints', RUNS, () => {
    try {
      const { token, cert, key } = readCredential(printed(random).toString('utf8'), call);
      assert.ok(token ?? (cert && key));
      outcomes.read++;
    } catch (error) {
      checkError(error);
      outcomes.refused++;
    }
  });
  assert.ok(outcomes.read > 0 && outcomes.refused > 0, JSON.stringify(outcomes));
  assert.ok(heapGrowthMb < 8, `${heapGrowthMb} MB`);
});

test(`${PROCESSES} runs of a plugin that prints and ends at random (seed ${SEED})`, async () => {
  const random = new Random(SEED);
  const directory = newDirectory();
  const plugin = join(directory, 'plugin');
  const [out, complaints, end] = ['out', 'complaints', 'end'].map((name) => join(directory, name));
  writeFileSync(plugin, `#!/bin/sh\ncat ${out!}\ncat ${complaints!} >&2\n. ${end!}\n`, { mode: 0o700 });
  const { PATH } = process.env;
  const { loaded } = await loadAgainAndAgain(
    'exec plugin',
    PROCESSES,
    () => {
      writeFileSync(out!, printed(random));
      writeFileSync(complaints!, random.oneIn(3) ? damaged(Buffer.from(`no: ${TOKEN} 😀`), random) : '');
      const ends = [
        'exit 0',
        'exit 0',
        'exit 0',
        'exit 1',
        'exit 255',
        'kill -9 $$',
        'exec >&- 2>&-; exit 0',
        'exec 3>&1',
      ];
      writeFileSync(end!, `${random.of(ends)}\n`);
    },
    async () => {
      try {
        await runPlugin(callOf(plugin), { clock: systemClock, env: { PATH }, signal: patient.signal });
      } catch (error) {
        checkError(error);
        throw error;
      }
    },
  );
  assert.ok(loaded > 0);
});

test.run();
