import { missingOpenStack, OpenStack } from '@teapot-kms/testing/daemons';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { compare, ratios } from '../load/compare.ts';
import { durations } from '../load/durations.ts';
import { barbicanKeys } from '../load/key-stores.ts';
import { decryptRequests } from '../load/requests.ts';
import { Rig } from '../load/rig.ts';
import { missingTeapotBench } from '../load/teapot-bench.ts';
import type { Scenario } from '../scenario.ts';

const IN_FLIGHT = 16;

/** Compares the plugin with a peer that works like barbican-kms-plugin, on the same Barbican. */
export const vsBarbican: Scenario = {
  name: 'vs-barbican',
  about: 'Decrypts with the keys in Barbican, beside one GET of the key and AES-CBC for each call, 16 in flight',
  missing: () => missingTeapotBench() ?? missingOpenStack(),
  async run(record) {
    await using rig = new Rig();
    // As in production, Barbican caches validated tokens and has more than one worker.
    const openStack = await OpenStack.start(rig.path(), { tokenCache: 300, barbicanWorkers: 2 });
    rig.ends(openStack);
    const peer = await rig.peer({
      kind: 'barbican',
      name: 'a GET for each call',
      args: await peerArgs(rig, openStack),
    });
    const plugin = await rig.plugin('plugin (barbican)', await barbicanKeys(rig.path(), openStack));
    const sides = [
      { server: plugin, requests: await decryptRequests(plugin.socket) },
      { server: peer, requests: await decryptRequests(peer.socket) },
    ] as const;
    const load = { inFlight: IN_FLIGHT, seconds: durations.barbicanSeconds };
    const [ours, theirs] = await compare(record, `Decrypt, ${IN_FLIGHT} in flight`, sides, load);
    record.figure(
      'rps-vs-barbican',
      ratios(ours, theirs, (one) => one.rps),
    );
  },
};

/** Stores a 256-bit key in Barbican. Returns the arguments with which the peer finds it. */
async function peerArgs(rig: Rig, { admin, state, keystoneUrl, barbicanUrl }: OpenStack): Promise<string[]> {
  const credentialFile = rig.path();
  writeFileSync(credentialFile, JSON.stringify(state.application_credential), { mode: 0o600 });
  const token = await admin.token('kms', state.passwords.kms, 'kms');
  const payload = randomBytes(32).toString('base64');
  const stored = await admin.barbican(token, 'POST', '/secrets', {
    algorithm: 'aes',
    bit_length: 256,
    payload,
    payload_content_type: 'application/octet-stream',
    payload_content_encoding: 'base64',
  });
  const secret = (stored as { secret_ref: string }).secret_ref.split('/').at(-1)!;
  const args = { keystone: keystoneUrl, barbican: barbicanUrl, secret, 'credential-file': credentialFile };
  return Object.entries(args).flatMap(([name, value]) => [`--${name}`, value]);
}
