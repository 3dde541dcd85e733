import { Shim, SoftHsm } from '@teapot-kms/testing/daemons';
import type { Token } from '@teapot-kms/testing/daemons';
import { LATENCY_MS } from '../bench-token.ts';
import { compare, ratios } from '../load/compare.ts';
import type { Samples } from '../load/compare.ts';
import { tokenKeys } from '../load/key-stores.ts';
import { decryptRequests } from '../load/requests.ts';
import { Rig } from '../load/rig.ts';
import { missingTeapotBench } from '../load/teapot-bench.ts';
import type { Recorder } from '../recorder.ts';
import type { Scenario } from '../scenario.ts';

const IN_FLIGHT = 16;

/** Compares the plugin with a peer that works like other PKCS#11 plugins, on the same token. */
export const vsPkcs11: Scenario = {
  name: 'vs-pkcs11',
  about: 'Decrypts with the key in SoftHSM2, beside two look-ups and AES-GCM in the token for each call, 16 in flight',
  missing: () => missingTeapotBench() ?? SoftHsm.missing() ?? Shim.missing(),
  async run(record) {
    await using rig = new Rig();
    const plain = await SoftHsm.create(rig.path());
    const [ours, theirs] = await compareOn(plain, 'SoftHSM2', record, rig);
    record.figure(
      'rps-vs-pkcs11',
      ratios(ours, theirs, (one) => one.rps),
    );
    const slow = Shim.over(await SoftHsm.create(rig.path()));
    slow.orders(`latency C_Decrypt ${LATENCY_MS}`);
    await compareOn(slow, `a token that takes ${LATENCY_MS} ms`, record, rig);
  },
};

async function compareOn(token: Token, name: string, record: Recorder, rig: Rig): Promise<readonly [Samples, Samples]> {
  const { env, module, label, pinFile } = token;
  const args = ['--module', module, '--token', label, '--object', 'peer', '--pin-file', pinFile];
  const peer = await rig.peer({ kind: 'pkcs11', name: 'token calls for each call', args, env });
  const plugin = await rig.plugin('plugin (pkcs11)', await tokenKeys(rig.path(), token));
  const sides = [
    { server: plugin, requests: await decryptRequests(plugin.socket) },
    { server: peer, requests: await decryptRequests(peer.socket) },
  ] as const;
  return compare(record, `Decrypt on ${name}, ${IN_FLIGHT} in flight`, sides, { inFlight: IN_FLIGHT });
}
