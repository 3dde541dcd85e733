import { KmsError, unavailable } from '../errors.ts';
import type { HostRecord, HostRecords } from '../keyset/host-records.ts';
import type { StoredManifest } from '../keyset/manifest.ts';
import { RESTORE_NEWEST } from '../keyset/restoring.ts';
import { formerPrimaries, relationOf } from '../keyset/succession.ts';
import type { Predecessor, Relation } from '../keyset/succession.ts';
import { writableRemedy } from '../util/writable.ts';

/** What may be done with the keys of an offered manifest. */
export type Verdict =
  | { readonly use: 'all'; readonly problem?: undefined }
  /** `opening`: the keys open and do not seal. */
  | { readonly use: 'opening' | 'nothing'; readonly problem: KmsError };

export interface KeysetGuardOptions {
  /** Names the instance in the host's records: the path of its socket. */
  readonly name: string;
  /** The key URI, for errors. */
  readonly uri: string;
  readonly records: HostRecords;
  /** Context ids of the keysets that other stores of the instance decrypt with. Default: none. */
  readonly decryptOnly?: () => Promise<readonly string[]>;
}

/**
 * Decides whether the keyset that a store offers may replace the one in use (`docs/spec/keyset-v2.md` §6), and remembers the newest one on
 * this host, so that a rollback is also recognised at a start.
 */
export class KeysetGuard {
  readonly #options: KeysetGuardOptions;
  #recordProblem: KmsError | undefined;
  #remembered: string | undefined;
  /** Whether there is a record that says nothing. */
  #damaged = false;

  constructor(options: KeysetGuardOptions) {
    this.#options = options;
  }

  /** What an operator should know of the records. No key is at risk now, and calls do not depend on them (design D16). */
  get hints(): readonly KmsError[] {
    return this.#recordProblem === undefined ? [] : [this.#recordProblem];
  }

  /**
   * @param held - the manifest of the keys in memory
   * @param seals - whether they seal; if not, this host has used a newer manifest than `held`
   */
  async judge(offered: StoredManifest, held: Predecessor | undefined, seals = true): Promise<Verdict> {
    if (seals && held?.hash === offered.hash) return { use: 'all' };
    const record = await this.#recordOf();
    // What an operator has confirmed is the one that counts.
    if (record?.hash === offered.hash) return { use: 'all' };
    const known = seals ? (held ?? record) : (record ?? held);
    if (!known) return { use: 'all' };
    const relation = relationOf(offered, known);
    const succeeds = isTaken(relation) || (relation === 'foreign' && (await this.#decryptsStill(known.contextId)));
    const found = succeeds ? this.#sealedBefore(offered, held, record) : relation;
    if (found === undefined) return { use: 'all' };
    const kept = held !== undefined && (seals || !isTaken(relationOf(offered, held)));
    const problem = this.#problem(offered, known, { found, held: known === held, kept, seals });
    return { use: kept || found === 'foreign' ? 'nothing' : 'opening', problem };
  }

  /** Another keyset may follow one whose data can still be read. */
  async #decryptsStill(contextId: string): Promise<boolean> {
    return (await this.#options.decryptOnly?.())?.includes(contextId) ?? false;
  }

  /** Whether a newer manifest lets a key seal that was already replaced (design D2): then it was made from an older copy. */
  #sealedBefore({ primary }: StoredManifest, held: Predecessor | undefined, record: HostRecord | undefined) {
    const formers = [...(record?.formers ?? []), ...(held?.keys ? formerPrimaries(held.keys, held.primary) : [])];
    return formers.includes(primary) ? 'former' : undefined;
  }

  /**
   * Records that the keyset is in use. A record that cannot be written is a hint. A damaged one stays until somebody confirms the keyset: this one may
   * be older.
   */
  async remember(taken: StoredManifest): Promise<void> {
    if (this.#remembered === taken.hash) return;
    const { name, records } = this.#options;
    const before = await this.#recordOf();
    if (this.#damaged) return;
    try {
      if (before?.hash !== taken.hash) await records.write(name, taken, before);
      this.#remembered = taken.hash;
      this.#recordProblem = undefined;
    } catch (error) {
      const text = `${records.directory} cannot be written (${(error as Error).message}): after a restart, a keyset that was rolled back is not recognised`;
      const remedy = writableRemedy(records.directory, (error as NodeJS.ErrnoException).code);
      this.#recordProblem = unavailable(text, { cause: error, remedy });
    }
  }

  async #recordOf(): Promise<HostRecord | undefined> {
    const { name, records } = this.#options;
    this.#damaged = false;
    try {
      return await records.read(name);
    } catch (error) {
      const text = `the record in ${records.directory} cannot be read (${(error as Error).message}): a keyset that was rolled back is not recognised`;
      const remedy =
        'compare "teapot-kms keys list --config FILE --instance NAME" with the other nodes. If it is the newest keyset: teapot-kms keys confirm --config FILE --instance NAME';
      this.#recordProblem = unavailable(text, { cause: error, remedy });
      // What the file system refuses says nothing of the record, and may be over when it is written.
      this.#damaged = (error as NodeJS.ErrnoException).code === undefined;
      return undefined;
    }
  }

  #problem(
    offered: StoredManifest,
    known: Predecessor,
    { found, held, kept, seals }: { found: Relation | 'former'; held: boolean; kept: boolean; seals: boolean },
  ): KmsError {
    const { uri } = this.#options;
    const offer = `${uri} has generation ${offered.generation} of keyset ${offered.contextId}`;
    const mine = held ? 'the keys in memory are of' : 'this host has used';
    const back = found === 'former' && offered.contextId !== known.contextId;
    const text = {
      foreign: `${uri} has another keyset, ${offered.contextId}; ${mine} keyset ${known.contextId}`,
      older: `${offer}, which is older: ${mine} generation ${known.generation}`,
      conflict: `${offer}, and ${mine} another one of this number: two copies were changed at the same time`,
      former: `${offer}, whose primary ${offered.primary} was already replaced here${back ? '' : ': it comes from an older copy'}`,
    }[found as 'foreign' | 'older' | 'conflict' | 'former'];
    const ofKept = seals ? 'The keys in memory stay in use.' : 'The keys in memory decrypt, and nothing is encrypted.';
    const ofOffered = found === 'foreign' ? 'No key is used.' : 'Its keys decrypt, and nothing is encrypted.';
    const consequence = kept ? ofKept : ofOffered;
    const remedy = back ? NEW_PRIMARY : RESTORE_NEWEST;
    return new KmsError('ERR_KMS_KEYSET_STALE', `${text}. ${consequence}`, { remedy });
  }
}

/** For a keyset that comes back after another one was in use. */
const NEW_PRIMARY =
  'make a new key in it (teapot-kms keys generate --config FILE --instance NAME), and promote that key (teapot-kms keys promote)';

const isTaken = (relation: Relation): boolean => relation === 'same' || relation === 'newer';
