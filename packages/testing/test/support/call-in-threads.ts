/** A worker thread that calls C_GenerateRandom `count` times and posts the number of failed calls. */
import { parentPort, workerData } from 'node:worker_threads';
import pkcs11js from 'pkcs11js';
import { ckr, openSession, slotOf } from './session.ts';

const { module, label, count } = workerData as { module: string; label: string; count: number };
const p11 = new pkcs11js.PKCS11();
p11.load(module);
const session = openSession({ p11, slot: slotOf(p11, label) });
let failed = 0;
for (let left = count; left > 0; left--) {
  if (ckr(() => p11.C_GenerateRandom(session, Buffer.alloc(8))) !== pkcs11js.CKR_OK) failed++;
}
parentPort!.postMessage(failed);
