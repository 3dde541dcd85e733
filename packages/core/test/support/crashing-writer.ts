// A child process that changes a keyset directory and kills itself at the n-th operation of the file system.
// usage: crashing-writer.ts DIRECTORY N generate|promote|retire|destroy [KEY_ID]
import { destroyRetiredKey, generateKey, promoteKey, retireKey } from '../../src/keyset/administration.ts';
import { openKeysetDirectory } from '../../src/stores/file/index.ts';
import { watchedFs } from './watched-fs.ts';

const [directory = '', dieAt = '', command = '', keyId = ''] = process.argv.slice(2);
let operation = 0;
const fs = watchedFs(async (_operation, _path, halfDone) => {
  if (++operation !== Number(dieAt)) return;
  await halfDone();
  process.kill(process.pid, 'SIGKILL');
  await new Promise(() => undefined);
});
const { admin } = openKeysetDirectory(`file:${directory}`, { allowGroupRead: false }, { fs });
if (!admin) throw new Error('no admin');
if (command === 'generate') await generateKey(admin);
else if (command === 'promote') await promoteKey(admin, keyId);
else if (command === 'retire') await retireKey(admin, keyId);
else if (command === 'destroy') await destroyRetiredKey(admin, keyId, { graceMs: 0 });
else throw new Error(`unknown command ${command}`);
