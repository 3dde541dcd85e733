import { unavailable } from '../errors.ts';
import type { KmsError } from '../errors.ts';
import type { HostRecord, HostRecords } from '../keyset/host-records.ts';
import type { StoredManifest } from '../keyset/manifest.ts';
import { relationOf } from '../keyset/succession.ts';
import { writableRemedy } from '../util/writable.ts';

/** What this host remembers of an instance, as far as anybody knows. */
export interface Recalled {
  readonly record: HostRecord | undefined;
  /** Whether somebody has confirmed what the record says since this process first read or last wrote it. */
  readonly confirmed: boolean;
  /** Whether it is known what is remembered, also if that is nothing. */
  readonly known: boolean;
}

/**
 * The record of one instance (`docs/spec/keyset-v2.md` §7), also while it cannot be read or written: then what this process knows of it counts, and
 * a hint says so. What is recorded may be out of date, and confirms nothing by itself.
 */
export class HostMemory {
  readonly #records: HostRecords;
  readonly #name: string;
  /** The record as this process first read it, or last wrote it. */
  #base: HostRecord | undefined;
  /** Whether the process knows what was there at first. A damaged record is nothing that anybody has confirmed. */
  #hasBase = false;
  #remembered: string | undefined;
  #unread: KmsError | undefined;
  #unwritten: KmsError | undefined;

  /** @param name - of the instance, as in {@link HostRecords} */
  constructor(records: HostRecords, name: string) {
    this.#records = records;
    this.#name = name;
  }

  get hints(): readonly KmsError[] {
    return [this.#unread, this.#unwritten].filter((hint) => hint !== undefined);
  }

  async recall(): Promise<Recalled> {
    const hadBase = this.#hasBase;
    const read = await this.#read();
    const record = read?.record ?? this.#base;
    const confirmed = hadBase && record !== undefined && this.#isConfirmed(record);
    return { record, confirmed, known: read !== undefined || record !== undefined };
  }

  /** Records that a keyset is in use. A record that cannot be read stays, because the keyset may be older than what it says. */
  async remember(taken: StoredManifest): Promise<void> {
    if (this.#remembered === taken.hash) return;
    const read = await this.#read();
    if (!read) return;
    const before = read.record ?? this.#base;
    try {
      if (read.record?.hash === taken.hash) this.#base = read.record;
      else if (before && !this.#mayFollow(taken, before)) return;
      else this.#base = await this.#records.write(this.#name, taken, before);
      this.#remembered = taken.hash;
      this.#unwritten = undefined;
    } catch (error) {
      const { directory } = this.#records;
      const text = `${directory} cannot be written (${(error as Error).message}): after a restart, a keyset that was rolled back is not recognised`;
      const remedy = writableRemedy(directory, (error as NodeJS.ErrnoException).code);
      this.#unwritten = unavailable(text, { cause: error, remedy });
    }
  }

  #isConfirmed({ confirmation }: HostRecord): boolean {
    return confirmation !== this.#base?.confirmation;
  }

  /** What somebody has confirmed meanwhile stays, and the generation only grows. */
  #mayFollow(taken: StoredManifest, record: HostRecord): boolean {
    const relation = relationOf(taken, record);
    return !this.#isConfirmed(record) && relation !== 'older' && relation !== 'conflict';
  }

  /** @returns `undefined` if the record cannot be read */
  async #read(): Promise<{ readonly record: HostRecord | undefined } | undefined> {
    try {
      const record = await this.#records.read(this.#name);
      if (!this.#hasBase) this.#base = record;
      this.#hasBase = true;
      this.#unread = undefined;
      return { record };
    } catch (error) {
      const { directory } = this.#records;
      const { message, code } = error as NodeJS.ErrnoException;
      // What the file system refuses says nothing of the record.
      this.#hasBase ||= code === undefined;
      const text = `the record in ${directory} cannot be read (${message}): a keyset that was rolled back is not recognised`;
      this.#unread = unavailable(text, { cause: error, remedy: unreadRemedy(directory, code) });
      return undefined;
    }
  }
}

function unreadRemedy(directory: string, code: string | undefined): string {
  if (code === 'EACCES' || code === 'EPERM') return `chown -R ${process.getuid?.() ?? 0} ${directory}`;
  return code === undefined
    ? 'compare "teapot-kms keys list --config FILE --instance NAME" with the other nodes. If it is the newest keyset: teapot-kms keys confirm --config FILE --instance NAME'
    : `find out what is wrong with the file system of ${directory}: the plugin reads again at each probe`;
}
