import * as assert from 'uvu/assert';
import { blobName, MANIFEST_NAME, parseManifest } from '../../src/keyset/manifest.ts';
import type { StoredManifest } from '../../src/keyset/manifest.ts';
import { BACKUPS, REPLICAS } from './fleet.ts';
import type { Fleet, Sealed } from './fleet.ts';
import type { Files } from './keyset-directories.ts';
import { PLAINTEXT } from './witness.ts';

/** A keyset that an operator can put together from everything that is left of it. */
interface Found {
  readonly manifest: StoredManifest;
  readonly files: Files;
}

/** Follows the advice of the plugin, and restores what is left. Looks at everything before it touches anything. */
export class Operator {
  readonly #fleet: Fleet;

  constructor(fleet: Fleet) {
    this.#fleet = fleet;
  }

  /**
   * Does what `doctor` and the log advise where something is wrong: restore the newest keyset that is left anywhere, and confirm it if the
   * host has used a newer one.
   */
  async followAdvice(at: number): Promise<void> {
    const { replica } = this.#fleet.witnesses[at]!;
    await this.#fleet.repairRecords(at);
    await this.#fleet.probe();
    if (replica.service.describe().warnings.length === 0) return;
    const wanted = (await replica.remembered())?.contextId;
    const found = this.#found();
    const newest = found.find(({ manifest }) => manifest.contextId === wanted) ?? found[0];
    if (newest) await this.#restoreAt(at, newest);
    this.#fleet.note('advice');
  }

  /**
   * The end of each sequence: the operator restores what is left, the newest keyset first and older ones for keys that it does not list.
   * @returns what did not open on every replica, although its key and a manifest that lists it were left somewhere
   */
  async recover(): Promise<{
    readonly kept: readonly Sealed[];
    readonly gone: number;
    readonly lost: readonly Sealed[];
  }> {
    for (const at of this.#fleet.witnesses.keys()) await this.#fleet.repairRecords(at);
    const found = this.#found();
    const samples = [...this.#fleet.keys].map(([keyId, { sample }]) => ({ keyId, ciphertext: sample }));
    const all = [...samples, ...this.#fleet.sealed];
    const left = new Set(found.flatMap(({ files }) => [...files.keys()]));
    const kept = all.filter(({ keyId }) => left.has(blobName(keyId)));
    let lost: readonly Sealed[] = kept;
    for (const one of found) {
      if (!lost.some(({ keyId }) => one.files.has(blobName(keyId)))) continue;
      await this.#restoreEverywhere(one);
      lost = await this.#refused(lost);
    }
    return { kept, gone: all.length - kept.length, lost };
  }

  /** Restores a keyset on one host, with all its retired keys, and copies it to the others. */
  async #restoreEverywhere(found: Found): Promise<void> {
    await this.#restoreAt(0, found);
    for (const { id, state } of found.manifest.keys) {
      if (state === 'retired') await this.#fleet.restoreKey(0, id);
    }
    const text = this.#fleet.files(0).get(MANIFEST_NAME)!;
    const files = new Map([...found.files, [MANIFEST_NAME, text]]);
    for (const at of this.#fleet.witnesses.keys())
      await this.#restoreAt(at, { manifest: parseManifest(text.toString(), 'node 1'), files });
  }

  /** What some replica does not open. */
  async #refused(sealed: readonly Sealed[]): Promise<Sealed[]> {
    const refused: Sealed[] = [];
    for (const one of sealed) {
      const errors = [];
      for (const witness of this.#fleet.witnesses) errors.push(await witness.open(one.ciphertext));
      if (errors.some((error) => error)) refused.push(one);
    }
    return refused;
  }

  /** Restores a keyset on one host, and confirms it if the plugin asks for that. Afterwards the host serves. */
  async #restoreAt(at: number, { manifest, files }: Found): Promise<void> {
    const witness = this.#fleet.witnesses[at]!;
    const { replica } = witness;
    await this.#fleet.repairRecords(at);
    await this.#fleet.replace(at, new Map([...this.#fleet.files(at), ...files]), true);
    if (replica.service.describe().warnings.some((warning) => warning.includes('keys confirm'))) {
      await replica.confirm(manifest);
      this.#fleet.note('confirmations');
      witness.confirmed(manifest);
    }
    await this.#fleet.probe();
    // Version 1: what the plugin began with were other bytes.
    if (replica.service.describe().warnings.some((warning) => warning.includes('restart the plugin'))) {
      await this.#fleet.restart(at);
      this.#fleet.note('restarts for other bytes');
    }
    await witness.inspect();
    assert.is(replica.service.keyset?.manifest.hash, manifest.hash, 'the restored keyset is not in use');
    for (const { id, state } of manifest.keys) {
      if (state !== 'retired' && files.has(blobName(id)))
        await witness.assertOpens(id, this.#fleet.keys.get(id)!.sample);
    }
    if (!files.has(blobName(manifest.primary))) return;
    assert.is((await replica.encrypt(PLAINTEXT))?.keyId, manifest.primary, 'the restored keyset does not encrypt');
    assert.is((await replica.service.status()).healthz, 'ok');
  }

  /** Every manifest that is left, newest first, each with all its keys of which a true copy is left anywhere. */
  #found(): Found[] {
    const places = Array.from({ length: REPLICAS + BACKUPS }, (_, place) => this.#fleet.files(place));
    const blobs = new Map<string, Buffer>();
    for (const [keyId, { bytes }] of this.#fleet.keys) {
      if (places.some((files) => files.get(blobName(keyId))?.equals(bytes))) blobs.set(blobName(keyId), bytes);
    }
    const found = new Map<string, Found>();
    for (const place of places) {
      const text = place.get(MANIFEST_NAME);
      if (!text || found.has(text.toString())) continue;
      const manifest = manifestIn(text.toString());
      if (!manifest) continue;
      const names = manifest.keys.map(({ id }) => blobName(id)).filter((name) => blobs.has(name));
      const files = new Map([[MANIFEST_NAME, text], ...names.map((name) => [name, blobs.get(name)!] as const)]);
      found.set(text.toString(), { manifest, files });
    }
    return [...found.values()].sort((a, b) => b.manifest.generation - a.manifest.generation);
  }
}

function manifestIn(text: string): StoredManifest | undefined {
  try {
    return parseManifest(text, 'a place');
  } catch {
    return undefined;
  }
}
