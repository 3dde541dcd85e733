// A child process that adds keys to a keyset directory while others do the same, and tries again at each conflict.
// usage: racing-writer.ts DIRECTORY KEYS
import { setTimeout as sleep } from 'node:timers/promises';
import { KmsError } from '../../src/errors.ts';
import { generateKey } from '../../src/keyset/administration.ts';
import { openKeysetDirectory } from '../../src/stores/file/index.ts';

const [directory = '', keys = '0'] = process.argv.slice(2);
const { admin } = openKeysetDirectory(`file:${directory}`, { allowGroupRead: false });
for (let made = 0; made < Number(keys);) {
  try {
    const { keyId } = await generateKey(admin!);
    console.log(keyId);
    made++;
  } catch (error) {
    if (!(error instanceof KmsError) || error.code !== 'ERR_KMS_KEYSET_CONFLICT') throw error;
    await sleep(Math.random() * 5);
  }
}
