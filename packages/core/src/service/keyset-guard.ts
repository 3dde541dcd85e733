import { KmsError } from '../errors.ts';
import type { HostRecords } from '../keyset/host-records.ts';
import type { StoredManifest } from '../keyset/manifest.ts';
import { RESTORE_NEWEST } from '../keyset/restoring.ts';
import { formerPrimaries, relationOf } from '../keyset/succession.ts';
import type { Predecessor, Relation } from '../keyset/succession.ts';
import { HostMemory } from './host-memory.ts';

type Difference = Exclude<Relation, 'same' | 'newer'> | 'former';

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
  readonly #memory: HostMemory;
  /** Whether a keyset came into use while nobody knew what is remembered: then the verdict is taken again. */
  #blind = false;

  constructor(options: KeysetGuardOptions) {
    this.#options = options;
    this.#memory = new HostMemory(options.records, options.name);
  }

  /** What an operator should know of the records. No key is at risk now, and calls do not depend on them (design D16). */
  get hints(): readonly KmsError[] {
    return this.#memory.hints;
  }

  /**
   * @param held - the manifest of the keys in memory
   * @param seals - whether they seal; if not, this host has used a newer manifest than `held`
   */
  async judge(offered: StoredManifest, held: Predecessor | undefined, seals = true): Promise<Verdict> {
    if (seals && held?.hash === offered.hash && !this.#blind) return ACCEPTED;
    const { record, confirmed, known } = await this.#memory.recall();
    const formers = [...(record?.formers ?? []), ...(held?.keys ? formerPrimaries(held.keys, held.primary) : [])];
    if (held && (seals || !record) && !(confirmed && record?.hash === offered.hash)) {
      const found = await this.#differenceOf(offered, held, formers);
      if (found) return this.#refused(offered, held, { use: 'nothing', found, kept: true, held: true, seals });
      if (!this.#blind) return ACCEPTED;
    }
    const found = record && (await this.#differenceOf(offered, record, formers));
    if (!found) {
      this.#blind = !known;
      return ACCEPTED;
    }
    const kept = held !== undefined && !isTaken(relationOf(offered, held));
    // What was in use already has sealed data: it goes on to open.
    const use = kept || (found === 'foreign' && !held) ? 'nothing' : 'opening';
    return this.#refused(offered, record, { use, found, kept, held: false, seals });
  }

  /** Records that the keyset is in use, unless the next verdict on it is still to come. */
  async remember(taken: StoredManifest): Promise<void> {
    if (!this.#blind) await this.#memory.remember(taken);
  }

  /** Why the offered manifest may not follow `known`; `undefined` if it may. @param formers - keys that never seal again */
  async #differenceOf(
    offered: StoredManifest,
    known: Predecessor,
    formers: readonly string[],
  ): Promise<Difference | undefined> {
    const relation = relationOf(offered, known);
    if (relation === 'same') return undefined;
    const follows = relation === 'newer' || (relation === 'foreign' && (await this.#decryptsStill(known.contextId)));
    if (!follows) return relation;
    // It lets a key seal that was already replaced (design D2): then it was made from an older copy.
    return formers.includes(offered.primary) ? 'former' : undefined;
  }

  /** Another keyset may follow one whose data can still be read. */
  async #decryptsStill(contextId: string): Promise<boolean> {
    return (await this.#options.decryptOnly?.())?.includes(contextId) ?? false;
  }

  /** @param known - is `held`, the keyset in memory, or what this host remembers; `kept`: the keys in memory are not exchanged */
  #refused(offered: StoredManifest, known: Predecessor, { use, found, kept, held, seals }: Refusal): Verdict {
    const { uri } = this.#options;
    const offer = `${uri} has generation ${offered.generation} of keyset ${offered.contextId}`;
    const mine = held ? 'the keys in memory are of' : 'this host has used';
    const back = found === 'former' && offered.contextId !== known.contextId;
    const text = {
      foreign: `${uri} has another keyset, ${offered.contextId}; ${mine} keyset ${known.contextId}`,
      older: `${offer}, which is older: ${mine} generation ${known.generation}`,
      conflict: `${offer}, and ${mine} another one of this number: two copies were changed at the same time`,
      former: `${offer}, whose primary ${offered.primary} was already replaced here${back ? '' : ': it comes from an older copy'}`,
    }[found];
    const ofKept = seals ? 'The keys in memory stay in use.' : 'The keys in memory decrypt, and nothing is encrypted.';
    const ofOffered = use === 'nothing' ? 'No key is used.' : 'Its keys decrypt, and nothing is encrypted.';
    const remedy = back ? NEW_PRIMARY : RESTORE_NEWEST;
    const message = `${text}. ${kept ? ofKept : ofOffered}`;
    return { use, problem: new KmsError('ERR_KMS_KEYSET_STALE', message, { remedy }) };
  }
}

interface Refusal {
  readonly use: 'opening' | 'nothing';
  readonly found: Difference;
  readonly kept: boolean;
  readonly held: boolean;
  readonly seals: boolean;
}

/** For a keyset that comes back after another one was in use. */
const NEW_PRIMARY =
  'make a new key in it (teapot-kms keys generate --config FILE --instance NAME), and promote that key (teapot-kms keys promote)';

const ACCEPTED: Verdict = { use: 'all' };

const isTaken = (relation: Relation): boolean => relation === 'same' || relation === 'newer';
