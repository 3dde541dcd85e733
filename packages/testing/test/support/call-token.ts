/** Calls C_GenerateRandom COUNT times and prints each return code. usage: call-token.ts COUNT < TOKEN */
import { text } from 'node:stream/consumers';
import type { Token } from '../../src/daemons/index.ts';
import { ckr, load, openSession } from './session.ts';

const loaded = load(JSON.parse(await text(process.stdin)) as Token);
const session = openSession(loaded);
for (let count = Number(process.argv[2]); count > 0; count--) {
  console.log(ckr(() => loaded.p11.C_GenerateRandom(session, Buffer.alloc(8))));
}
