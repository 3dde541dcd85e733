import { importAesKey } from '@teapot-kms/testing/daemons';
import type { Token } from '@teapot-kms/testing/daemons';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateKey } from '../../../src/keyset/administration.ts';
import { pkcs11Provider } from '../../../src/stores/pkcs11/provider.ts';
import type { Pkcs11Kek } from '../../../src/stores/pkcs11/pkcs11-kek.ts';
import { SharedResources } from '../../../src/util/shared-resources.ts';
import type { ResourceEvent } from '../../../src/util/shared-resources.ts';

export const patient = () => ({ signal: AbortSignal.timeout(30_000) });

const made: string[] = [];
process.on('exit', () => {
  for (const directory of made) rmSync(directory, { recursive: true, force: true });
});

export function newDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'teapot-pkcs11-'));
  made.push(directory);
  return directory;
}

export interface KekOptions {
  readonly token: Token;
  /** Holds the manifest and what the host remembers. */
  readonly directory: string;
  readonly shared?: SharedResources;
  readonly pinFile?: string;
  readonly label?: string;
  readonly settings?: Readonly<Record<string, unknown>>;
}

/** The module's environment must be ours: the token host inherits it. */
export function use(token: Token): void {
  Object.assign(process.env, token.env);
}

export const uriOf = (token: Token, label = 'kek', pinFile = token.pinFile): string =>
  `pkcs11:token=${token.label};object=${label}?module-path=${token.module}&pin-source=file:${pinFile}`;

export function openKek({ token, directory, shared, pinFile, label, settings }: KekOptions): Pkcs11Kek {
  const parsed = pkcs11Provider.settings.parse({
    keyset: join(directory, 'keyset'),
    stateDirectory: join(directory, 'state'),
    ...settings,
  });
  return pkcs11Provider.open(uriOf(token, label, pinFile), parsed, shared ?? new SharedResources());
}

/** A store with one key, made in the token. */
export async function newKek(options: KekOptions): Promise<Pkcs11Kek> {
  const kek = openKek(options);
  try {
    await generateKey(kek.admin);
  } catch (error) {
    await kek.close();
    throw error;
  }
  return kek;
}

/** Shared resources that remember what they report. */
export function collectReports(): { readonly shared: SharedResources; readonly reports: ResourceEvent[] } {
  const reports: ResourceEvent[] = [];
  return { shared: new SharedResources((event) => reports.push(event)), reports };
}

/** A store with one key that the test knows, put into the token from outside. */
export async function importedKek(options: KekOptions, value: Uint8Array): Promise<Pkcs11Kek> {
  const kek = openKek(options);
  const { admin } = kek;
  await generateKey({
    readManifest: () => admin.readManifest(),
    writeManifest: (manifest, revision) => admin.writeManifest(manifest, revision),
    createKey: async (keyId) => {
      mkdirSync(join(options.directory, 'keyset'), { mode: 0o700 });
      await putKey(options, keyId, value);
      return {};
    },
    destroyKey: (keyId) => admin.destroyKey(keyId),
  });
  return kek;
}

export const putKey = ({ token, label = 'kek' }: KekOptions, keyId: string, value: Uint8Array): Promise<void> =>
  importAesKey(token, { id: Buffer.from(keyId).toString('hex'), label, value });
