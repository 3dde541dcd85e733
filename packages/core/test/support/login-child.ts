// A child process that logs in once through a PIN ledger. Each call of C_Login is a line in a file, as a token would count it.
// usage: login-child.ts DIRECTORY PIN CALLS_FILE ok|refused|die [DIE_AT_OPERATION]
import { appendFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { KmsError } from '../../src/errors.ts';
import { SecretBytes } from '../../src/util/secret-bytes.ts';
import { newLedger } from './pin-ledgers.ts';
import { TOKEN } from './tokens.ts';
import { watchedFs } from './watched-fs.ts';

const [directory = '', pin = '', callsFile = '', outcome = '', dieAt = ''] = process.argv.slice(2);

async function die(): Promise<never> {
  process.kill(process.pid, 'SIGKILL');
  return new Promise(() => undefined);
}

let operation = 0;
const fs = watchedFs(async (_operation, _path, halfDone) => {
  if (++operation !== Number(dieAt)) return;
  await halfDone();
  await die();
});
const ledger = newLedger(directory, TOKEN, fs);
try {
  await ledger.attempt(new SecretBytes(Buffer.from(pin)), { pinFinalTry: false, pinLocked: false }, async () => {
    appendFileSync(callsFile, `${String(process.pid)}\n`);
    if (outcome === 'die') await die();
    await sleep(100);
    return outcome === 'ok' ? 'ok' : 'refused';
  });
  console.log('logged in');
} catch (error) {
  if (!(error instanceof KmsError)) throw error;
  console.log(`${error.code}: ${error.message}`);
}
