import { randomBytes } from 'node:crypto';
import { KEY_BYTES } from '../../envelope/limits.ts';
import type { RemoteContext, RemoteKek } from '../../service/local-kek/remote-kek.ts';
import type { Finding } from '../../finding.ts';
import { SecretBytes } from '../../util/secret-bytes.ts';
import type { KeyInfo } from './token-host/protocol.ts';
import type { Pkcs11Admin } from './pkcs11-admin.ts';
import type { Token } from './token.ts';
import type { Pkcs11Uri } from './uri.ts';

interface Examined extends RemoteKek {
  readonly admin: Pkcs11Admin;
  token(): Token;
  keyInfo(keyId: string, context: RemoteContext): Promise<KeyInfo>;
  listKeys(context: RemoteContext): Promise<readonly string[]>;
}

/** What `doctor` says of a token, in the order in which things depend on each other; ends at what does not work. */
export async function examineToken(kek: Examined, uri: Pkcs11Uri, context: RemoteContext): Promise<readonly Finding[]> {
  const remarks: Finding[] = [];
  const ok = (text: string) => remarks.push({ level: 'ok', text });
  const hint = (text: string, remedy: string) => remarks.push({ level: 'hint', text, remedy });
  try {
    const info = await kek.token().info(context);
    ok(`the module works; token "${info.label}", ${info.manufacturer} ${info.model}, serial ${info.serial}`);
    const inToken = await kek.listKeys(context);
    ok('the PIN was accepted');
    const manifest = (await kek.admin.readManifest())?.manifest;
    const listed = new Set(manifest?.keys.map(({ id }) => id));
    for (const id of inToken.filter((id) => !listed.has(id))) {
      hint(
        `key ${id} with label "${uri.object}" is in the token and in no keyset`,
        'remove it from the token, if no "keys" command runs and no other keyset has it',
      );
    }
    for (const { id, state } of manifest?.keys ?? []) {
      if (state === 'retired') continue;
      const { mechanism, remarks: attributes } = await kek.keyInfo(id, context);
      ok(
        `key ${id}, ${id === manifest?.primary ? 'the primary' : state}: ${mechanism}, ${await roundTrip(kek, id, context)}`,
      );
      for (const text of attributes) {
        hint(`key ${id}: ${text}`, 'make a key in the token with "keys generate", promote it and rewrite the data');
      }
    }
  } catch (error) {
    const { message } = error as Error;
    remarks.push({ level: 'problem', text: message, remedy: `mend the token or its settings: ${message}` });
  }
  return remarks;
}

async function roundTrip(kek: RemoteKek, keyId: string, context: RemoteContext): Promise<string> {
  const key = new SecretBytes(randomBytes(KEY_BYTES));
  const started = performance.now();
  const wrapped = await kek.wrap(keyId, key, context);
  const wrapMs = performance.now() - started;
  const unwrapped = await kek.unwrap(keyId, wrapped, context);
  const unwrapMs = performance.now() - started - wrapMs;
  const same = unwrapped.expose().equals(key.expose());
  unwrapped.wipe();
  key.wipe();
  if (!same) throw new Error(`key ${keyId} does not give back what it wrapped`);
  return `wraps in ${wrapMs.toFixed(1)} ms, unwraps in ${unwrapMs.toFixed(1)} ms`;
}
