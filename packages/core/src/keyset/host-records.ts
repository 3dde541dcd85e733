import { createHash, randomBytes } from 'node:crypto';
import * as nodeFs from 'node:fs/promises';
import * as z from 'zod';
import { DurableDirectory } from '../util/durable-directory.ts';
import { keyIdSchema } from './manifest.ts';
import type { StoredManifest } from './manifest.ts';
import { formerPrimaries } from './succession.ts';

/** Most former primaries that are remembered. With one rotation a day, they last for ten years. */
const MAX_FORMERS = 4_000;

/** Longest record that is read, in bytes: a former primary takes at most 67. */
const MAX_RECORD_BYTES = 512 * 1024;

const recordSchema = z.strictObject({
  instance: z.string(),
  contextId: z.string().regex(/^[0-9a-f]{32}$/),
  generation: z.int().min(0),
  hash: z.string().regex(/^[0-9a-f]{64}$/),
  primary: keyIdSchema,
  formers: z.array(keyIdSchema).max(MAX_FORMERS),
  /** Random, and another one after each confirmation: so a running plugin sees it, also where nothing else has changed. */
  confirmation: z
    .string()
    .regex(/^[0-9a-f]{32}$/)
    .optional(),
});

/** What a host remembers of one instance. */
export type HostRecord = Readonly<z.infer<typeof recordSchema>>;

/**
 * What this host remembers of its keysets (`docs/spec/keyset-v2.md` §7): for each instance the newest manifest that it has used, and the
 * keys that were primaries before. So a plugin that starts without keys in memory recognises a keyset that was rolled back or exchanged.
 */
export class HostRecords {
  readonly directory: string;
  readonly #files: DurableDirectory;

  /** @param directory - is created when the first record is written */
  constructor(directory: string, fs = nodeFs) {
    this.directory = directory;
    this.#files = new DurableDirectory(directory, fs);
  }

  /**
   * @param instance - the path of its socket, which names one kube-apiserver however the configuration changes
   * @returns `undefined` if nothing is remembered
   * @throws the file system's error, or that of a record that is damaged
   */
  async read(instance: string): Promise<HostRecord | undefined> {
    const text = await this.#files.read(fileName(instance), MAX_RECORD_BYTES).catch((error: unknown) => {
      // Below a file there is nothing.
      if ((error as NodeJS.ErrnoException).code === 'ENOTDIR') return undefined;
      throw error;
    });
    return text === undefined ? undefined : recordSchema.parse(JSON.parse(text));
  }

  /**
   * Remembers a manifest, and which keys never seal again.
   * @param before - what was remembered before. Without it, only the manifest counts: its operator has confirmed it
   * @returns what was written
   * @throws the file system's error
   */
  async write(instance: string, manifest: StoredManifest, before?: HostRecord): Promise<HostRecord> {
    const { contextId, generation, hash, primary } = manifest;
    const known = new Set([
      ...(before ? [...before.formers, before.primary] : []),
      ...formerPrimaries(manifest.keys, primary),
    ]);
    known.delete(primary);
    const formers = [...known].slice(-MAX_FORMERS);
    await this.#files.make();
    const confirmation = before ? before.confirmation : randomBytes(16).toString('hex');
    const record: HostRecord = { instance, contextId, generation, hash, primary, formers, confirmation };
    await this.#files.write(fileName(instance), Buffer.from(`${JSON.stringify(record)}\n`), 0o600);
    return record;
  }
}

const fileName = (instance: string): string =>
  `${createHash('sha256').update(instance).digest('hex').slice(0, 32)}.json`;
