import { Shim, SoftHsm } from '@teapot-kms/testing/daemons';
import { EnvelopeKey, generateKey, providerFor, SecretBytes, SharedResources } from '@teapot-kms/core';
import { newKey } from '@teapot-kms/core/internal';
import type { Manifest, RemoteContext, RemoteKek } from '@teapot-kms/core';
import { messages } from '@teapot-kms/server';
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Requests } from './load/requests.ts';

/** Sessions of the token. Each one serves one call at a time. */
export const SESSIONS = 8;
/** Duration of a call to a network HSM. */
export const LATENCY_MS = 5;

/** gRPC method of the loads. */
export const DECRYPT = '/v2.KeyManagementService/Decrypt';

/** A ciphertext and its expected plaintext. */
export interface Sealed {
  readonly ciphertext: Buffer;
  readonly keyId: string;
  readonly plaintext: Buffer;
}

/** The `keys` section of an instance. */
export type Keys = { readonly uri: string } & Readonly<Record<string, unknown>>;

/** SoftHSM2 behind the shim, which counts and delays calls. Any number of instances share its one key. */
export class BenchToken {
  readonly #directory: string;
  readonly #shim: Shim;
  readonly #first: RemoteKek;
  readonly #manifest: Manifest;

  private constructor(directory: string, shim: Shim, first: RemoteKek, manifest: Manifest) {
    this.#directory = directory;
    this.#shim = shim;
    this.#first = first;
    this.#manifest = manifest;
  }

  static missing(): string | undefined {
    return SoftHsm.missing() ?? Shim.missing();
  }

  /** Also sets the shim's environment variables in this process. Plugins inherit them. */
  static async create(directory: string): Promise<BenchToken> {
    const shim = Shim.over(await SoftHsm.create(join(directory, 'hsm')));
    Object.assign(process.env, shim.env);
    const first = openKek(keysOf(directory, shim, 'first'));
    const { after } = await generateKey(first.admin!);
    // This reads the manifest once. Otherwise every concurrent wrap would read it.
    await first.describe(patient());
    return new BenchToken(directory, shim, first, after);
  }

  /** Unwraps by the token since {@link BenchToken.slowFromNow}, including those of health probes. */
  get unwraps(): number {
    return this.#shim.calls('C_Decrypt');
  }

  /** Resets the counters. From now on each unwrap takes {@link LATENCY_MS}. */
  slowFromNow(): void {
    this.#shim.orders(`latency C_Decrypt ${LATENCY_MS}`);
    this.#shim.resetCounters();
  }

  /** Creates a keyset for another instance, with the same key. */
  async addKeyset(name: string): Promise<{ readonly keys: Keys; readonly contextId: Buffer }> {
    const keys = keysOf(this.#directory, this.#shim, name);
    const contextId = randomBytes(16);
    const kek = openKek(keys);
    mkdirSync(join(this.#directory, 'keysets', name), { mode: 0o700 });
    await kek.admin!.writeManifest(await this.#manifestFor(contextId), undefined);
    await kek.close();
    return { keys, contextId };
  }

  /** The check value of a key depends on the context (`docs/spec/keyset-v2.md` §5.2). */
  async #manifestFor(contextId: Buffer): Promise<Manifest> {
    const { primary, keys } = this.#manifest;
    const { key, traits } = newKey(primary, contextId);
    const checkKey = (await this.#first.wrap(primary, key, patient())).toString('base64');
    key.wipe();
    return {
      ...this.#manifest,
      contextId: contextId.toString('hex'),
      keys: keys.map((entry) => ({ ...entry, ...traits, checkKey })),
    };
  }

  /** Seals `count` seeds like a replica that restarts after every `perKey` seeds. Each start creates a local KEK. */
  async seal(contextId: Buffer, count: number, perKey = 1): Promise<Sealed[]> {
    const { primary: keyId } = this.#manifest;
    const starts = Array.from({ length: count / perKey }, async () => {
      const bytes = randomBytes(32);
      const key = new SecretBytes(bytes);
      const wrapped = await this.#first.wrap(keyId, key, patient());
      const kek = new EnvelopeKey({ key, keyId, contextId, wrapped });
      const sealed = Array.from({ length: perKey }, () => {
        const plaintext = randomBytes(32);
        return { ciphertext: kek.seal(plaintext), keyId, plaintext };
      });
      kek.destroy();
      return sealed;
    });
    return (await Promise.all(starts)).flat();
  }

  async close(): Promise<void> {
    await this.#first.close();
  }
}

/** Decrypt requests that open each ciphertext once, with the expected answers. */
export function decryptsOf(sealed: readonly Sealed[]): Omit<Requests, 'method'> {
  const { DecryptRequest, DecryptResponse } = messages.v2;
  return {
    requests: sealed.map(({ ciphertext, keyId }) =>
      DecryptRequest.encode({ ciphertext, key_id: keyId, uid: randomUUID() }),
    ),
    answers: sealed.map(({ plaintext }) => DecryptResponse.encode({ plaintext })),
  };
}

const patient = (): RemoteContext => ({ signal: new AbortController().signal });

export function openKek({ uri, ...settings }: Keys): RemoteKek {
  const provider = providerFor(uri);
  return provider.open(uri, provider.settings.parse(settings), new SharedResources()) as RemoteKek;
}

function keysOf(directory: string, shim: Shim, name: string): Keys {
  return {
    uri: `pkcs11:token=${shim.label};object=kek?module-path=${shim.module}&pin-source=file:${shim.pinFile}`,
    keyset: join(directory, 'keysets', name),
    stateDirectory: join(directory, 'state'),
    sessions: SESSIONS,
  };
}
