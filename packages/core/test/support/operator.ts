import * as assert from 'uvu/assert';
import { KmsError } from '../../src/errors.ts';
import { exportKeyset, importKeyset } from '../../src/keyset/backup.ts';
import { blobName, MANIFEST_NAME, parseManifest } from '../../src/keyset/manifest.ts';
import type { StoredManifest } from '../../src/keyset/manifest.ts';
import { BACKUPS, REPLICAS } from './fleet.ts';
import type { Fleet, Sealed } from './fleet.ts';
import { MemoryDirectory } from './keyset-directories.ts';
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
   * Does what `doctor` prints for a keyset directory (`packages/server/src/doctor/concrete.ts`), where something is wrong: moves aside what it says,
   * and takes with "keys import" what is missing from copies of the other directories, whatever state they are in.
   */
  async followAdvice(at: number): Promise<void> {
    await this.#fleet.repairRecords(at);
    await this.#fleet.probe();
    if (this.#advice(at) === '') return;
    const [before, known] = [this.#trueCopies(), await this.#fleet.witnesses[at]!.replica.remembered()];
    const rankOf = ({ contextId, hash, generation }: StoredManifest): number =>
      (hash === known?.hash ? 2e9 : 0) + (contextId === known?.contextId ? 1e9 : 0) + generation;
    const ranked = this.#others(at)
      .map((files) => ({ files, manifest: manifestOf(files) }))
      .flatMap(({ files, manifest }) => (manifest ? [{ files, rank: rankOf(manifest) }] : []))
      .sort((a, b) => b.rank - a.rank);
    const moved = new Map<string, Buffer>();
    // Once more from the start, since an import may change what doctor says.
    for (const { files, rank } of [...ranked, ...ranked]) {
      const here = manifestOf(this.#fleet.files(at));
      const isBest = here !== undefined && rankOf(here) >= rank;
      if (this.#advice(at).includes('keys confirm') && isBest) await this.#confirm(at, here);
      if (this.#advice(at) === '') break;
      if (!this.#advice(at).includes('keys confirm') || !isBest) await this.#moveAside(at, moved);
      await this.#import(at, files);
    }
    // What no copy has brought back is better than nothing.
    const here = this.#fleet.files(at);
    if ([...moved.keys()].some((name) => !here.has(name)))
      await this.#fleet.replace(at, new Map([...moved, ...here]), true);
    this.#fleet.note('advice');
    const after = this.#trueCopies();
    for (const keyId of before) assert.ok(after.has(keyId), `the advice has written over the last copy of ${keyId}`);
    this.#assertBroughtBack(at);
  }

  #advice(at: number): string {
    return this.#fleet.witnesses[at]!.replica.service.describe().warnings.join('\n');
  }

  /** Every directory but that of a replica. */
  #others(at: number): Files[] {
    const places = Array.from({ length: REPLICAS + BACKUPS }, (_, place) => place).filter((place) => place !== at);
    return [...places.map((place) => this.#fleet.files(place)), ...this.#fleet.aside];
  }

  /** The keys of which a whole copy is left anywhere. */
  #trueCopies(): Set<string> {
    const places = this.#others(-1);
    const left = [...this.#fleet.keys].filter(([keyId, { bytes }]) =>
      places.some((files) => files.get(blobName(keyId))?.equals(bytes)),
    );
    return new Set(left.map(([keyId]) => keyId));
  }

  /** @param last - gets what was moved, by name */
  async #moveAside(at: number, last: Map<string, Buffer>): Promise<void> {
    const files = this.#fleet.files(at);
    const advice = this.#advice(at);
    const isMoved = (name: string): boolean =>
      advice.includes('Move the keyset here aside') ||
      (advice.includes('move the damaged manifest aside') && name === MANIFEST_NAME) ||
      advice.includes(`move key ${name.replace(/\.key$/, '')} aside`);
    const moved = [...files].filter(([name]) => isMoved(name));
    if (moved.length === 0) return;
    for (const [name, bytes] of moved) last.set(name, bytes);
    this.#fleet.aside.push(new Map(moved));
    await this.#fleet.replace(at, new Map([...files].filter(([name]) => !isMoved(name))), true);
  }

  /** "scp" of a directory beside the keyset, and "keys import" of it. */
  async #import(at: number, files: Files): Promise<void> {
    const witness = this.#fleet.witnesses[at]!;
    const copy = new MemoryDirectory();
    copy.replace(files);
    witness.look();
    try {
      const { backup } = await exportKeyset(copy.admin, { partial: true });
      await importKeyset(witness.replica.directory.admin, backup, { partial: true });
    } catch (error) {
      // Of another keyset, or of none: nothing is changed.
      if (!(error instanceof KmsError)) throw error;
    }
    await witness.replica.noticeChange();
    await this.#fleet.probe();
    await witness.inspect();
  }

  async #confirm(at: number, manifest: StoredManifest): Promise<void> {
    const witness = this.#fleet.witnesses[at]!;
    await witness.replica.confirm(manifest);
    this.#fleet.note('confirmations');
    witness.confirmed(manifest);
    await this.#fleet.probe();
    await witness.inspect();
  }

  /** Where another directory has the manifest that is here now, no key is missing here that is whole there. */
  #assertBroughtBack(at: number): void {
    const here = this.#fleet.files(at);
    const manifest = manifestOf(here);
    for (const files of this.#others(at)) {
      if (!manifest || this.#advice(at) === '' || manifestOf(files)?.hash !== manifest.hash) continue;
      for (const { id } of manifest.keys) {
        const bytes = this.#fleet.keys.get(id)?.bytes;
        if (!bytes || !files.get(blobName(id))?.equals(bytes)) continue;
        assert.ok(here.get(blobName(id))?.equals(bytes), `the advice has not brought back ${id}`);
      }
    }
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
    const places = this.#others(-1);
    const blobs = new Map<string, Buffer>();
    for (const [keyId, { bytes }] of this.#fleet.keys) {
      if (places.some((files) => files.get(blobName(keyId))?.equals(bytes))) blobs.set(blobName(keyId), bytes);
    }
    const found = new Map<string, Found>();
    for (const place of places) {
      const text = place.get(MANIFEST_NAME);
      const manifest = manifestOf(place);
      if (!text || !manifest || found.has(text.toString())) continue;
      const names = manifest.keys.map(({ id }) => blobName(id)).filter((name) => blobs.has(name));
      const files = new Map([[MANIFEST_NAME, text], ...names.map((name) => [name, blobs.get(name)!] as const)]);
      found.set(text.toString(), { manifest, files });
    }
    return [...found.values()].sort((a, b) => b.manifest.generation - a.manifest.generation);
  }
}

function manifestOf(files: Files): StoredManifest | undefined {
  try {
    return parseManifest(files.get(MANIFEST_NAME)?.toString() ?? '', 'a place');
  } catch {
    return undefined;
  }
}
