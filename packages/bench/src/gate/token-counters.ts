import { Shim, SoftHsm } from '@teapot-kms/testing/daemons';
import { generateKey, LocalKekService, providerFor, SharedResources } from '@teapot-kms/core';
import type { RemoteKek } from '@teapot-kms/core';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { patient, untilOk } from '../micro/material.ts';
import { stormOn } from './counters.ts';
import type { Counted } from './counters.ts';

const SESSIONS = 4;

export const missingToken = (): string | undefined => SoftHsm.missing() ?? Shim.missing();

/** The same storm on a real token: what arrives there, and how many sessions it takes. */
export async function countTokenCalls(): Promise<Counted> {
  const directory = mkdtempSync(join(tmpdir(), 'teapot-gate-'));
  try {
    const shim = Shim.over(await SoftHsm.create(join(directory, 'hsm')));
    Object.assign(process.env, shim.env);
    const uri = `pkcs11:token=${shim.label};object=kek?module-path=${shim.module}&pin-source=file:${shim.pinFile}`;
    const [keyset, stateDirectory] = [join(directory, 'keyset'), join(directory, 'state')];
    const provider = providerFor(uri);
    const settings = provider.settings.parse({ keyset, stateDirectory, sessions: SESSIONS });
    const open = (): RemoteKek => provider.open(uri, settings, new SharedResources()) as RemoteKek;
    const first = open();
    await generateKey(first.admin!);
    await first.close();
    const storm = await stormOn(open);
    const service = new LocalKekService({ remote: open() });
    service.start();
    await untilOk(service);
    shim.resetCounters();
    await Promise.all(storm.map(async (one) => service.decrypt(one, patient)));
    const { token_sessions_opened: sessions = 0, token_logins: logins = 0 } = service.describe().counters;
    const counted: Counted = {
      'token calls of 1,000 cold Decrypts, 40 wrapped keys': shim.calls('C_Decrypt'),
      'calls that look at the key for 40 unwraps, 4 sessions': shim.calls('C_GetAttributeValue'),
      'sessions opened on the token, 4 allowed': sessions,
      'logins on the token': logins,
    };
    await service.close();
    return counted;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
