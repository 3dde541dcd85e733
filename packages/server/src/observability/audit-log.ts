import { safeText } from '@teapot-kms/core';
import type { Clock, ServiceDescription } from '@teapot-kms/core';
import { keyIdHash } from '../kms/key-id-hash.ts';
import type { CallRecord } from '../kms/endpoint.ts';
import { statusName } from '../transport/seam.ts';
import type { LogOutput } from './log-output.ts';

/** kube-apiserver sends UUIDs; key ids of ours are shorter. Others may send anything. */
const MAX_ID = 128;

type Keys = ServiceDescription['keys'];

interface AuditLogOptions {
  /** Whether each Encrypt and Decrypt is written too. */
  readonly calls: boolean;
  readonly clock: Clock;
}

/**
 * JSON lines that say what happened to keys, and who used them where that is asked for. It has no level and no limit of lines
 * in a second; lines that cannot be written wait, and are then counted, as in {@link LogOutput}.
 */
export class AuditLog {
  readonly #output: LogOutput;
  readonly #options: AuditLogOptions;
  /** By instance: the state of each key. */
  readonly #known = new Map<string, ReadonlyMap<string, string>>();

  constructor(output: LogOutput, options: AuditLogOptions) {
    this.#output = output;
    this.#options = options;
    output.onDropped = (lines) => this.write('lines-dropped', { lines });
  }

  /** @param event - what happened, such as `started` */
  write(event: string, fields: object = {}): void {
    const time = new Date(this.#options.clock.wall()).toISOString();
    this.#output.write(`${JSON.stringify({ time, event, ...fields })}\n`);
  }

  /** Writes a line for each key of an instance that is new, has another state than before, or is gone. */
  keys(instance: string, keys: Keys): void {
    const before = this.#known.get(instance) ?? new Map<string, string>();
    const now = new Map(keys.map(({ id, state }) => [id, state]));
    this.#known.set(instance, now);
    for (const id of new Set([...before.keys(), ...now.keys()])) {
      const [from = 'absent', to = 'absent'] = [before.get(id), now.get(id)];
      if (from !== to) this.write('key', { instance, keyId: id, keyIdHash: keyIdHash(id), from, to });
    }
  }

  /** Writes an Encrypt or Decrypt, if calls are asked for. */
  called(instance: string, { endpoint: { api, method }, status, uid, keyId, durationMs }: CallRecord): void {
    if (!this.#options.calls || (method !== 'Encrypt' && method !== 'Decrypt')) return;
    const ms = Math.round(durationMs * 1000) / 1000;
    const [shownUid, shownKeyId] = [uid, keyId].map((id) => id && safeText(id, MAX_ID));
    this.write('call', { instance, api, method, uid: shownUid, keyId: shownKeyId, code: statusName(status), ms });
  }
}
