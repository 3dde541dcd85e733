import * as assert from 'uvu/assert';
import { decodeEnvelope } from '../../src/envelope/codec.ts';
import { EnvelopeKey } from '../../src/envelope/envelope.ts';
import { KmsError } from '../../src/errors.ts';
import { blobName } from '../../src/keyset/manifest.ts';
import type { StoredManifest } from '../../src/keyset/manifest.ts';
import { SecretBytes } from '../../src/util/secret-bytes.ts';
import type { Replica } from './replica.ts';

export const PLAINTEXT = Buffer.from('the seed of a data encryption key');

/** A key as it was made, in a place that no step can reach, with data that is sealed under it. */
export class TrueKey {
  readonly bytes: Buffer;
  readonly contextId: string;
  /** Sealed here, without a plugin: replicas must open it if they hold the key. */
  readonly sample: Buffer;
  readonly #key: EnvelopeKey;

  constructor(keyId: string, contextId: string, bytes: Buffer) {
    this.bytes = bytes;
    this.contextId = contextId;
    const key = new SecretBytes(Buffer.from(bytes));
    this.#key = new EnvelopeKey({ key, keyId, contextId: Buffer.from(contextId, 'hex') });
    this.sample = this.#key.seal(PLAINTEXT);
  }

  /** Fails unless this key, and no other, has sealed it. */
  assertSealed(ciphertext: Buffer): void {
    assert.equal(this.#key.open(decodeEnvelope(ciphertext)), PLAINTEXT);
  }
}

/**
 * Watches one replica, and knows only what was true before: which keys it opened with, which keyset it used last, and which keys were
 * primaries before. Says nothing of how the plugin decides.
 */
export class Witness {
  readonly replica: Replica;
  readonly #keys: ReadonlyMap<string, TrueKey>;
  #opened: readonly string[] = [];
  /** Since the last inspection, manifests in use have said that these are retired. */
  readonly #retired = new Set<string>();
  /** Of version 1: the plugin has found other bytes under these ids when it had nothing to compare them with. */
  readonly #strange = new Set<string>();
  /** In use since the last start. */
  #used: StoredManifest | undefined;
  /** The newest keyset that this host has used, or the one that its operator has confirmed since. */
  #newest: StoredManifest | undefined;
  #formers = new Set<string>();
  /** What the host will still know after a restart. */
  #recorded: { readonly newest: StoredManifest | undefined; readonly formers: ReadonlySet<string> } = {
    newest: undefined,
    formers: new Set(),
  };
  /** The host could not read its records when it had no keys in memory, and has not since. */
  #blind = false;
  checks = 0;

  constructor(replica: Replica, keys: ReadonlyMap<string, TrueKey>) {
    this.replica = replica;
    this.#keys = keys;
  }

  get newest(): StoredManifest | undefined {
    return this.#newest;
  }

  /** The keys in memory are gone, and nobody can expect them back. Nor what the host could not record, or cannot read. */
  restarted(): void {
    this.#opened = [];
    this.#strange.clear();
    this.#used = undefined;
    this.#newest = this.#recorded.newest;
    this.#formers = new Set(this.#recorded.formers);
    this.recordsFailed();
  }

  /** Without its records, a plugin knows only what it has in memory. */
  recordsFailed(): void {
    if (this.replica.recordFaults.reads === undefined || this.#used) return;
    this.#blind = true;
    this.#newest = undefined;
    this.#formers = new Set();
  }

  /** The operator has said that this keyset is the right one, whatever was before. */
  confirmed(manifest: StoredManifest): void {
    this.#newest = manifest;
    this.#used = undefined;
    this.#formers = new Set(formersOf(manifest));
    this.#blind = false;
    this.#record();
  }

  /** To be called before the directory changes once more: keys that the keyset in use retires may leave the memory, and others come from it. */
  look(): void {
    for (const { id, state, check } of this.replica.service.keyset?.manifest.keys ?? []) {
      if (state === 'retired') this.#retired.add(id);
      if (check === undefined && !this.#opened.includes(id)) this.#compare(id);
    }
  }

  #compare(keyId: string): void {
    const bytes = this.replica.directory.files().get(blobName(keyId));
    if (this.replica.holds(keyId) && bytes && !bytes.equals(this.#keys.get(keyId)!.bytes)) this.#strange.add(keyId);
  }

  /** Whether the plugin could not know that its key is another one. */
  isStrange(keyId: string): boolean {
    return this.#strange.has(keyId);
  }

  /** Looks at the replica after something has happened. */
  async inspect(): Promise<void> {
    this.look();
    const manifest = this.replica.service.keyset?.manifest;
    if (this.#blind && this.replica.recordFaults.reads === undefined) this.#seeAgain();
    if (manifest) this.#notOlder(manifest);
    this.#record();
    const sealed = await this.replica.encrypt(PLAINTEXT);
    if (sealed) await this.#assertMaySeal(sealed.keyId, sealed.ciphertext);
    await this.#assertStillOpens();
  }

  /** A keyset that this host knows to be older opens at most, and never takes the place of a newer one in memory. */
  #notOlder(manifest: StoredManifest): void {
    const before = this.#used;
    const follows = isNewer(manifest, this.#newest) && !this.#formers.has(manifest.primary);
    // Back to what this host has used last, or on to what follows it, from one that only opened.
    if (before && manifest.hash !== this.#newest?.hash && !follows) {
      assert.is(manifest.contextId, before.contextId, 'another keyset was taken');
      assert.ok(manifest.generation >= before.generation, 'an older generation was taken over a newer one');
      if (manifest.generation > 0 && manifest.generation === before.generation)
        assert.is(manifest.hash, before.hash, 'a conflict was taken');
    }
    this.#used = manifest;
    if (follows) this.#use(manifest);
  }

  /** What the host knows from now on, as far as its file system lets it. */
  #record(): void {
    const { reads, writes } = this.replica.recordFaults;
    if (reads === undefined && writes === undefined)
      this.#recorded = { newest: this.#newest, formers: new Set(this.#formers) };
  }

  /** The host has its records back. What it took without them counts only if it follows what they say. */
  #seeAgain(): void {
    this.#blind = false;
    const [taken, { newest, formers }] = [this.#newest, this.#recorded];
    for (const id of formers) this.#formers.add(id);
    if (!newest || !taken || taken.hash === newest.hash) return void (this.#newest = taken ?? newest);
    if (isNewer(taken, newest) && !formers.has(taken.primary)) return;
    this.#newest = newest;
    this.#formers = new Set(formers);
  }

  async #assertMaySeal(keyId: string, ciphertext: Buffer): Promise<void> {
    const manifest = this.replica.service.keyset!.manifest;
    assert.is(keyId, manifest.primary, 'a key sealed that is not the primary');
    assert.is(manifest.hash, this.#newest?.hash, 'a keyset sealed that is not the newest one that this host has used');
    assert.not.ok(this.#formers.has(keyId), 'a former primary sealed');
    if (!this.#strange.has(keyId)) this.#keys.get(keyId)!.assertSealed(ciphertext);
    assert.is((await this.replica.service.status()).keyId, keyId, 'Status announces another key');
    this.checks++;
  }

  async #assertStillOpens(): Promise<void> {
    const held = [...this.#keys.keys()].filter((keyId) => this.replica.holds(keyId));
    for (const keyId of this.#opened) {
      assert.ok(held.includes(keyId) || this.#retired.has(keyId), `key ${keyId} was dropped from memory`);
    }
    this.#retired.clear();
    for (const keyId of held) await this.assertOpens(keyId, this.#keys.get(keyId)!.sample);
    this.#opened = held;
  }

  async assertOpens(keyId: string, ciphertext: Buffer): Promise<void> {
    const refused = await this.open(ciphertext);
    if (refused && !this.#strange.has(keyId))
      throw new Error(`key ${keyId} does not open: ${refused.code} ${refused.message}`);
  }

  /** Decrypts something that is sealed under a true key. @returns the refusal, which never blames the data */
  async open(ciphertext: Buffer): Promise<KmsError | undefined> {
    const opened = await this.replica.decrypt(ciphertext);
    this.checks++;
    if (opened instanceof KmsError) {
      if (this.#strange.has(decodeEnvelope(ciphertext).keyId)) return opened;
      assert.is.not(opened.code, 'ERR_KMS_AUTHENTICATION_FAILED', 'another key was used');
      return opened;
    }
    assert.equal(opened, PLAINTEXT);
    return undefined;
  }

  #use(manifest: StoredManifest): void {
    this.#newest = manifest;
    for (const id of formersOf(manifest)) this.#formers.add(id);
  }
}

/**
 * The next generation names the one that it replaces: if that is another one, two copies were changed at the same time. Of version 1 nobody can
 * tell the age.
 */
function isNewer(manifest: StoredManifest, known: StoredManifest | undefined): boolean {
  if (!known) return true;
  if (manifest.generation === 0 && known.generation === 0) return manifest.contextId === known.contextId;
  const steps = manifest.generation - known.generation;
  return manifest.contextId === known.contextId && (steps > 1 || (steps === 1 && manifest.replaces === known.hash));
}

/** Keys that never seal again: they were primaries, or nobody can tell. */
const formersOf = ({ keys, primary }: StoredManifest): string[] =>
  keys.filter(({ id, state }) => state !== 'pending' && id !== primary).map(({ id }) => id);
