import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import * as assert from 'uvu/assert';
import type { Cluster } from '../cluster.ts';
import type { Scenario } from '../scenario.ts';

export const noSecretInLogs: Scenario = { title: 'no log contains a key', run };

async function run({ logs, store }: Cluster): Promise<void> {
  const secrets = await store.secrets();
  assert.ok(logs.length > 0);
  for (const log of logs) {
    const text = readFileSync(log);
    for (const secret of secrets) {
      for (const written of [secret, ...encodings(secret)]) {
        assert.not.ok(text.includes(written), `${basename(log)} contains a key`);
      }
    }
  }
}

function encodings(secret: Buffer): string[] {
  const hex = secret.toString('hex');
  return [hex, hex.toUpperCase(), secret.toString('base64').replace(/=+$/, ''), secret.toString('base64url')];
}
