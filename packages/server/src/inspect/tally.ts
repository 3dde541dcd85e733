import { KmsError, safeText } from '@teapot-kms/core';
import { keyIdHash } from '../kms/key-id-hash.ts';
import { problemOf, summaryOf } from './envelope-summary.ts';
import { resourceOf } from './resource.ts';
import { parseStoredValue } from './stored-value.ts';

/** Objects that agree in everything but their revision and size. */
export interface TallyRow {
  readonly resource: string;
  /** `kms:v2`, `kms:v1`, `aescbc`, `aesgcm`, `secretbox`, `identity`, `unknown`; `malformed` where the value is not what its prefix says. */
  readonly provider: string;
  /** In the EncryptionConfiguration: the name of the KMS provider or of the key. */
  readonly name?: string;
  /** KMS only. With v1, the envelope names it if the plugin is Teapot KMS. */
  readonly keyId?: string;
  /** As in kube-apiserver's metrics. */
  readonly keyIdHash?: string;
  /** Whose ciphertext the data key or seed is. */
  readonly envelope?: 'teapot-v1' | 'teapot-damaged' | 'other';
  /** Why no plugin can decrypt these objects. */
  readonly problem?: string;
  readonly objects: number;
  readonly bytes: number;
  readonly oldestModRevision: number;
  readonly newestModRevision: number;
  /** The first of these keys, for `teapot-kms inspect --etcd`. */
  readonly example: string;
}

type Kind = Omit<TallyRow, 'objects' | 'bytes' | 'oldestModRevision' | 'newestModRevision' | 'example'>;
type Counted = { -readonly [Field in keyof TallyRow]: TallyRow[Field] };

export interface CountedObject {
  readonly key: Buffer;
  readonly value: Buffer;
  readonly modRevision: number;
}

/** Distinct rows: a cluster has some hundred. More would not fit into the memory that a scan may take. */
const MAX_ROWS = 20_000;

/** Counts objects by resource, provider and key id. Memory depends on the number of rows, not of objects. */
export class Tally {
  readonly #root: string;
  readonly #rows = new Map<string, Counted>();
  objects = 0;
  bytes = 0;

  /** @param root - as for {@link resourceOf} */
  constructor(root: string) {
    this.#root = root;
  }

  /** @throws {@link KmsError} `ERR_KMS_LIMIT_EXCEEDED` for too many distinct resources and keys: an incomplete count proves nothing */
  add({ key, value, modRevision }: CountedObject): void {
    const path = key.toString();
    const kind = kindOf(value, resourceOf(path, this.#root));
    const name = [kind.resource, kind.provider, kind.name, kind.keyId, kind.envelope, kind.problem].join('\0');
    let row = this.#rows.get(name);
    if (!row) {
      if (this.#rows.size === MAX_ROWS) throw tooManyRows();
      row = {
        ...kind,
        objects: 0,
        bytes: 0,
        oldestModRevision: modRevision,
        newestModRevision: modRevision,
        example: path,
      };
      if (kind.keyId !== undefined) row.keyIdHash = keyIdHash(kind.keyId);
      this.#rows.set(name, row);
    }
    this.objects++;
    this.bytes += value.length;
    row.objects++;
    row.bytes += value.length;
    if (modRevision < row.oldestModRevision) row.oldestModRevision = modRevision;
    if (modRevision > row.newestModRevision) row.newestModRevision = modRevision;
  }

  /** Sorted by resource, then by number of objects. */
  rows(): readonly TallyRow[] {
    return [...this.#rows.values()].sort((a, b) =>
      a.resource < b.resource ? -1 : a.resource > b.resource ? 1 : b.objects - a.objects,
    );
  }
}

function kindOf(value: Buffer, resource: string): Kind {
  try {
    const stored = parseStoredValue(value);
    if (stored.provider === 'identity') return { resource, provider: 'identity' };
    const { name } = stored;
    if (stored.provider !== 'kms') return { resource, provider: stored.provider, name };
    const envelope = summaryOf(stored.encryptedDekSource);
    const keyId = stored.keyId ?? (envelope.format === 'teapot-v1' ? envelope.keyId : undefined);
    const problem = problemOf(stored, envelope);
    return {
      resource,
      provider: `kms:${stored.apiVersion}`,
      name,
      ...(keyId !== undefined && { keyId }),
      envelope: envelope.format,
      ...(problem !== undefined && { problem }),
    };
  } catch (error) {
    if (!(error instanceof KmsError) || error.code !== 'ERR_KMS_STORED_VALUE_MALFORMED') throw error;
    return { resource, provider: 'malformed', problem: safeText(error.message, 200) };
  }
}

function tooManyRows(): KmsError {
  return new KmsError(
    'ERR_KMS_LIMIT_EXCEEDED',
    `there are more than ${MAX_ROWS} combinations of resource, provider and key`,
    {
      remedy: 'scan one resource at a time with --only, such as --only secrets/',
    },
  );
}
