// A plugin whose memory a test looks through: it knows no secret that it was not given by its token and its PIN file.
import { LocalKekService } from '../../../src/service/local-kek/local-kek-service.ts';
import { pkcs11Provider } from '../../../src/stores/pkcs11/provider.ts';
import { SharedResources } from '../../../src/util/shared-resources.ts';

export interface ToMemoryChild {
  readonly uri: string;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly cacheEntries: number;
  /** Base64, to be opened over and over under load; the last ones last. */
  readonly ciphertexts: readonly string[];
}

/** How often each is opened. With a small cache that is as many unwraps, and evictions. */
const ROUNDS = 50;
const AT_A_TIME = 8;

const patient = () => ({ signal: AbortSignal.timeout(30_000) });

let hostPid: number | undefined;
const shared = new SharedResources((event) => {
  if (event.type === 'token-host-started') hostPid = event.pid;
});
let service: LocalKekService | undefined;

async function use({ uri, settings, cacheEntries, ciphertexts }: ToMemoryChild): Promise<void> {
  const remote = pkcs11Provider.open(uri, pkcs11Provider.settings.parse(settings), shared);
  service = new LocalKekService({ remote, cacheEntries });
  service.start();
  await service.encrypt(Buffer.from('x'), patient());
  const decrypt = async (ciphertext: string): Promise<void> => {
    (await service!.decrypt({ ciphertext: Buffer.from(ciphertext, 'base64') }, patient())).fill(0);
  };
  const load = Array.from({ length: ROUNDS }, () => ciphertexts)
    .flat()
    .values();
  const worker = async (): Promise<void> => {
    for (const ciphertext of load) await decrypt(ciphertext);
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, worker));
  for (const ciphertext of ciphertexts) await decrypt(ciphertext);
  await told();
}

/** What falls out of the cache is wiped in the next turn of the event loop. */
async function told(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 50));
  process.send!({ hostPid });
}

process.on('message', (message: ToMemoryChild | 'close') => {
  if (message === 'close') void service?.close().then(told);
  else void use(message);
});
