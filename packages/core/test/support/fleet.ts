import { FakeClock } from '@teapot-kms/testing';
import * as assert from 'uvu/assert';
import { KmsError } from '../../src/errors.ts';
import { destroyRetiredKey, generateKey, promoteKey, restoreKey, retireKey } from '../../src/keyset/administration.ts';
import type { Change } from '../../src/keyset/administration.ts';
import { checkHeldByAll } from '../../src/keyset/evidence.ts';
import { blobName, MANIFEST_NAME } from '../../src/keyset/manifest.ts';
import type { KeyState, StoredManifest } from '../../src/keyset/manifest.ts';
import { patient } from './context.ts';
import type { Files, KeysetDirectory } from './keyset-directories.ts';
import type { FsFaults } from './memory-fs.ts';
import { Replica } from './replica.ts';
import { PLAINTEXT, TrueKey, Witness } from './witness.ts';

export interface Sealed {
  readonly keyId: string;
  readonly ciphertext: Buffer;
}

export const REPLICAS = 3;
export const BACKUPS = 2;

/** Three replicas with a directory each, two backups, the commands that change keysets, and what was encrypted. */
export class Fleet {
  readonly clock = new FakeClock();
  readonly witnesses: readonly Witness[];
  readonly sealed: Sealed[] = [];
  /** What has really happened, by name. */
  readonly happened = new Map<string, number>();
  readonly keys = new Map<string, TrueKey>();
  /** What operators have moved aside, as the advice says. */
  readonly aside: Files[] = [];
  readonly #backups: Files[] = Array.from({ length: BACKUPS }, () => new Map());

  readonly #version: 1 | 2;

  /** @param version - of the keyset's format at the beginning */
  constructor(newDirectory: () => KeysetDirectory, version: 1 | 2 = 2) {
    this.#version = version;
    this.witnesses = Array.from({ length: REPLICAS }, (_, index) => {
      const replica = new Replica(`node-${index + 1}`, newDirectory(), this.clock);
      return new Witness(replica, this.keys);
    });
  }

  get checks(): number {
    return this.witnesses.reduce((sum, { checks }) => sum + checks, 0);
  }

  note(what: string): void {
    this.happened.set(what, (this.happened.get(what) ?? 0) + 1);
  }

  /** All replicas run with the same keyset, which has been rotated once. */
  async start(): Promise<void> {
    if (this.#version === 1) await this.#makeVersion1();
    for (const { replica } of this.witnesses) await replica.start();
    if (this.#version === 2) await this.generate(0);
    await this.generate(0);
    await this.promote(0, 0, false);
    const files = this.#directory(0).files();
    for (const index of this.witnesses.keys()) await this.replace(index, files, true);
    // What each host has recorded by now.
    await this.inspect();
  }

  /** A first key as the first plugins made it. */
  async #makeVersion1(): Promise<void> {
    const { admin } = this.#directory(0);
    this.#keep(0, await generateKey(admin, this));
    const { manifest, revision } = (await admin.readManifest())!;
    const keys = manifest.keys.map(({ id, created, state, since }) => ({ id, created, state, since }));
    await admin.writeManifest({ ...manifest, formatVersion: 1, keys }, revision);
  }

  async stop(): Promise<void> {
    for (const { replica } of this.witnesses) await replica.stop();
  }

  /** After each step: nothing is under way any more, and each replica does what it may and must. */
  async inspect(): Promise<void> {
    for (const { replica } of this.witnesses) await replica.quiet();
    for (const witness of this.witnesses) await witness.inspect();
  }

  /** Time passes until every plugin has probed its store. */
  async probe(): Promise<void> {
    await this.clock.advance(40_000);
    for (const { replica } of this.witnesses) await replica.quiet();
  }

  async generate(at: number): Promise<void> {
    const made = await this.#change(at, () => generateKey(this.#directory(at).admin, this));
    if (made) this.#keep(at, made);
  }

  #keep(at: number, { keyId, after }: Change): void {
    this.keys.set(keyId, new TrueKey(keyId, after.contextId, this.#directory(at).files().get(blobName(keyId))!));
  }

  /** @param verified - with a report of each replica; otherwise as with --unverified */
  async promote(at: number, which: number, verified: boolean): Promise<void> {
    // Without reports, somebody may also try a key that must never seal again.
    const keyId = await this.#keyAt(at, which, verified ? ['pending'] : ['pending', 'promoted', 'retired']);
    if (keyId === undefined) return;
    const { admin, source } = this.#directory(at);
    const made = await this.#change(at, async () => {
      if (!verified) return promoteKey(admin, keyId, this);
      const proof = (await source.load(patient)).proofs.get(keyId);
      if (!proof) return undefined;
      const reports = this.witnesses.map(({ replica }) => replica.report());
      const evidence = { reports, replicas: REPLICAS, now: new Date(this.clock.wall()) };
      const check = (manifest: StoredManifest) => checkHeldByAll(manifest, keyId, proof, evidence);
      return promoteKey(admin, keyId, { clock: this.clock, check });
    });
    if (!made) return;
    this.note(verified ? 'promotions by reports' : 'promotions --unverified');
    if (!verified) return;
    // What the reports have proved: nobody has to copy anything before the new key may seal.
    for (const witness of this.witnesses) {
      // Version 1: a pending key that was exchanged before it was copied is another one everywhere, and has sealed nothing.
      witness.look();
      await witness.assertOpens(keyId, this.keys.get(keyId)!.sample);
    }
  }

  async retire(at: number, which: number): Promise<void> {
    const keyId = await this.#keyAt(at, which, ['promoted']);
    if (keyId === undefined) return;
    if (await this.#change(at, () => retireKey(this.#directory(at).admin, keyId, this))) this.note('retirements');
  }

  async restore(at: number, which: number): Promise<void> {
    const keyId = await this.#keyAt(at, which, ['retired']);
    if (keyId !== undefined) await this.restoreKey(at, keyId);
  }

  async restoreKey(at: number, keyId: string): Promise<void> {
    await this.#change(at, () => restoreKey(this.#directory(at).admin, keyId, this));
  }

  async destroy(at: number, which: number): Promise<void> {
    const keyId = await this.#keyAt(at, which, ['retired']);
    if (keyId === undefined) return;
    if (await this.#change(at, () => destroyRetiredKey(this.#directory(at).admin, keyId, this), keyId))
      this.note('destroyed keys');
  }

  /** The files of a replica's directory, or of a backup. */
  files(place: number): Files {
    return place < REPLICAS ? this.#directory(place).files() : this.#backups[place - REPLICAS]!;
  }

  /** @param noticed - whether the watch tells the plugin */
  async replace(place: number, files: Files, noticed: boolean): Promise<void> {
    if (place >= REPLICAS) {
      this.#backups[place - REPLICAS] = files;
      return;
    }
    this.witnesses[place]!.look();
    this.#directory(place).replace(files);
    if (noticed) await this.witnesses[place]!.replica.noticeChange();
  }

  /** The state directory of a host refuses to be read, or written, until this changes or somebody repairs it. */
  async failRecords(at: number, { reads, writes }: FsFaults): Promise<void> {
    const witness = this.witnesses[at]!;
    Object.assign(witness.replica.recordFaults, { reads, writes });
    witness.recordsFailed();
    if (reads === undefined) await witness.replica.probe();
    if (reads !== undefined || writes !== undefined) this.note('failures of records');
  }

  /** The state directory is as it should be again, and the plugin has noticed. */
  async repairRecords(at: number): Promise<void> {
    const { recordFaults } = this.witnesses[at]!.replica;
    if (recordFaults.reads === undefined && recordFaults.writes === undefined) return;
    await this.failRecords(at, { reads: undefined, writes: undefined });
    await this.witnesses[at]!.inspect();
  }

  async restart(at: number): Promise<void> {
    const witness = this.witnesses[at]!;
    await witness.replica.stop();
    witness.restarted();
    await witness.replica.start();
  }

  async encrypt(at: number): Promise<void> {
    const witness = this.witnesses[at]!;
    const sealed = await witness.replica.encrypt(PLAINTEXT);
    witness.look();
    if (sealed && !witness.isStrange(sealed.keyId))
      this.sealed.push({ ciphertext: Buffer.from(sealed.ciphertext), keyId: sealed.keyId });
  }

  async decrypt(at: number, which: number): Promise<void> {
    const sealed = this.sealed[which % Math.max(1, this.sealed.length)];
    if (sealed) await this.witnesses[at]!.open(sealed.ciphertext);
  }

  #directory(at: number): KeysetDirectory {
    return this.witnesses[at]!.replica.directory;
  }

  /** @param states - in the order of preference */
  async #keyAt(at: number, which: number, states: readonly KeyState[]): Promise<string | undefined> {
    const current = await this.#directory(at)
      .admin.readManifest()
      .catch(() => undefined);
    const keys = states.flatMap((state) => current?.manifest.keys.filter((key) => key.state === state) ?? []);
    return keys[which % Math.max(1, keys.length)]?.id;
  }

  /** A command of `teapot-kms keys`: refused, or done without touching any key but the one that it destroys. */
  async #change<T>(at: number, command: () => Promise<T>, destroyed?: string): Promise<T | undefined> {
    this.witnesses[at]!.look();
    const before = this.#directory(at).files();
    const made = await command().catch((error: unknown) => {
      if (error instanceof KmsError) return undefined;
      throw error;
    });
    const after = this.#directory(at).files();
    for (const [name, bytes] of before) {
      if (name === MANIFEST_NAME || (made && destroyed !== undefined && name === blobName(destroyed))) continue;
      assert.equal(after.get(name), bytes, `a command changed ${name}`);
    }
    await this.witnesses[at]!.replica.noticeChange();
    return made;
  }
}
