import { compare } from '../load/compare.ts';
import { decryptV1Requests, encryptRequests, encryptV1Requests } from '../load/requests.ts';
import { Rig } from '../load/rig.ts';
import { missingTeapotBench } from '../load/teapot-bench.ts';
import type { Scenario } from '../scenario.ts';

/** Measures Encrypt. KMS v1 calls it on each write, v2 at a start and when the key changes. */
export const writes: Scenario = {
  name: 'writes',
  about: 'Encrypt of v2 beside the Go reference, Encrypt and Decrypt of v1beta1, 1 and 100 in flight',
  missing: missingTeapotBench,
  async run(record) {
    await using rig = new Rig();
    const plugin = await rig.plugin();
    const reference = await rig.reference();
    const v1Decrypts = await decryptV1Requests(plugin.socket);
    for (const inFlight of [1, 100]) {
      const load = { inFlight };
      const encrypts = encryptRequests();
      const both = [plugin, reference].map((server) => ({ server, requests: encrypts }));
      await compare(record, `Encrypt, ${inFlight} in flight`, both, load);
      const v1 = { server: plugin, requests: encryptV1Requests() };
      await compare(record, `v1beta1 Encrypt, ${inFlight} in flight`, [v1], load);
      const v1Decrypt = { server: plugin, requests: v1Decrypts };
      await compare(record, `v1beta1 Decrypt, ${inFlight} in flight`, [v1Decrypt], load);
    }
  },
};
