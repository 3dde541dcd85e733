import { randomBytes } from 'node:crypto';
import { KEY_BYTES } from '../../envelope/limits.ts';
import { KmsError } from '../../errors.ts';
import type { Finding } from '../../finding.ts';
import { keepUnlisted } from '../../keyset/restoring.ts';
import type { RemoteContext, RemoteKek } from '../../service/local-kek/remote-kek.ts';
import type { Clock } from '../../util/clock.ts';
import { SecretBytes } from '../../util/secret-bytes.ts';
import type { Pkcs11Admin } from './pkcs11-admin.ts';
import { isRsa } from './token-host/mechanism-name.ts';
import type { MechanismName } from './token-host/mechanism-name.ts';
import type { KeyInfo } from './token-host/protocol.ts';
import type { Token } from './token.ts';

interface Examined extends RemoteKek {
  readonly admin: Pkcs11Admin;
  token(): Token;
  keyInfo(keyId: string, context: RemoteContext): Promise<KeyInfo>;
  remarksOnTrial(mechanism: MechanismName, context: RemoteContext): Promise<readonly string[]>;
  listKeys(context: RemoteContext): Promise<readonly string[]>;
}

/** Returns what `doctor` reports about a token, in the order of dependence. Ends at the first thing that does not work. */
export async function examineToken(
  kek: Examined,
  label: string,
  clock: Clock,
  context: RemoteContext,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  const ok = (text: string) => findings.push({ level: 'ok', text });
  const hint = (text: string, remedy: string) => findings.push({ level: 'hint', text, remedy });
  try {
    const info = await kek.token().info(context);
    ok(`the module works; token "${info.label}", ${info.manufacturer} ${info.model}, serial ${info.serial}`);
    const inToken = await kek.listKeys(context);
    ok('the PIN was accepted');
    if (kek.token().usesOneThread) {
      hint(
        'each thread of the module would need a login of its own, so it gets one thread, and the token one call at a time',
        'set sessions: 1, which saves the second start; for more calls at a time use another module for this token',
      );
    }
    const manifest = (await kek.admin.readManifest())?.manifest;
    const listed = new Set(manifest?.keys.map(({ id }) => id));
    for (const id of inToken.filter((id) => !listed.has(id))) {
      hint(
        `key ${id} with label "${label}" is in the token, and this keyset does not list it`,
        keepUnlisted(`key ${id} in the token`),
      );
    }
    for (const { id, state, imported } of manifest?.keys ?? []) {
      let ofTrial: readonly string[] | undefined;
      if (state === 'retired') continue;
      const { mechanism, remarks } = await kek.keyInfo(id, context);
      if (state === 'promoted' && id !== manifest?.primary) {
        // It wraps nothing any more, and its wraps may be used up. The token has tested it for keyInfo.
        ok(`key ${id}, decrypt-only: ${mechanism}`);
      } else {
        const times = await roundTrip(kek, id, context, clock);
        ok(`key ${id}, ${state === 'promoted' ? 'the primary' : state}: ${mechanism}, ${times}`);
      }
      if (imported) ok(`key ${id} was made outside the token on purpose: a copy was written for escrow`);
      for (const text of remarks) {
        // What is not made in the token has neither.
        if (imported && isAboutThePast(text)) continue;
        // A next key may have it too.
        ofTrial ??= isRsa(mechanism) ? [] : await kek.remarksOnTrial(mechanism, context).catch(() => []);
        const isOfEvery = ofTrial.includes(text);
        if (isOfEvery && isAboutThePast(text)) {
          ok(`key ${id}: ${text}. The module says so of every key, also of one that it has just made`);
        } else if (isOfEvery) {
          hint(
            `key ${id}: ${text}. The module makes every key so`,
            'use another token, or ask the vendor of the module',
          );
        } else {
          hint(
            `key ${id}: ${text}`,
            'make the next key in the token (teapot-kms keys generate --config FILE --instance NAME), promote it, and rewrite the data',
          );
        }
      }
    }
  } catch (error) {
    const { message, remedy } = KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE');
    findings.push({
      level: 'problem',
      text: message,
      remedy: remedy ?? 'correct the settings of the key, or the token',
    });
  }
  return findings;
}

/** Says where the key comes from, and not what can be done with it. */
const isAboutThePast = (remark: string): boolean => /^CKA_(LOCAL|NEVER_EXTRACTABLE) /.test(remark);

async function roundTrip(kek: RemoteKek, keyId: string, context: RemoteContext, clock: Clock): Promise<string> {
  const key = new SecretBytes(randomBytes(KEY_BYTES));
  const started = clock.now();
  const wrapped = await kek.wrap(keyId, key, context);
  const wrapMs = clock.now() - started;
  const unwrapped = await kek.unwrap(keyId, wrapped, context);
  const unwrapMs = clock.now() - started - wrapMs;
  const same = unwrapped.expose().equals(key.expose());
  unwrapped.wipe();
  key.wipe();
  if (!same) throw new Error(`key ${keyId} does not give back what it wrapped`);
  return `wraps in ${wrapMs.toFixed(1)} ms, unwraps in ${unwrapMs.toFixed(1)} ms`;
}
