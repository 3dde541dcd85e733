import { FakeClock, FaultInjectingRemoteKek, settle } from '@teapot-kms/testing';
import type { FakeToken } from '@teapot-kms/testing';
import type { LocalKekServiceOptions } from '../../src/service/local-kek/local-kek-service.ts';
import { LocalKekService } from '../../src/service/local-kek/local-kek-service.ts';
import { patient } from './context.ts';
import { collectEvents } from './events.ts';

export interface StartedLocal {
  readonly service: LocalKekService;
  readonly remote: FaultInjectingRemoteKek;
  readonly token: FakeToken;
  readonly clock: FakeClock;
  readonly primary: string;
  readonly events: ReturnType<typeof collectEvents>;
}

type Options = Partial<LocalKekServiceOptions> & { readonly token?: FakeToken };

/** A service over a token with one version of its key, not started yet. */
export function makeLocal({ token, ...options }: Options = {}): StartedLocal {
  const [remote, clock, events] = [new FaultInjectingRemoteKek(token), new FakeClock(), collectEvents()];
  const service = new LocalKekService({ remote, clock, onEvent: events.onEvent, ...options });
  return { service, remote, token: remote.token, clock, events, primary: remote.token.primary };
}

/** A service that has a local KEK to seal with. */
export async function startLocal(options: Options = {}): Promise<StartedLocal> {
  const made = makeLocal(options);
  made.service.start();
  await settle();
  return made;
}

export interface Sealed {
  readonly ciphertext: Buffer;
  readonly keyId: string;
  readonly plaintext: Buffer;
}

/** What other replicas on the same token have sealed: `keys` different local KEKs, one envelope each. */
export async function sealedElsewhere(token: FakeToken, keys: number): Promise<Sealed[]> {
  const { service } = await startLocal({ token, direct: true });
  const sealed = await Promise.all(
    Array.from({ length: keys }, async (_, index) => {
      const plaintext = Buffer.from(`plaintext ${String(index)}`);
      return { ...(await service.encrypt(plaintext, patient)), plaintext };
    }),
  );
  await service.close();
  return sealed;
}
