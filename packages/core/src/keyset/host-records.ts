import { createHash } from 'node:crypto';
import * as nodeFs from 'node:fs/promises';
import * as z from 'zod';
import { DurableDirectory } from '../util/durable-directory.ts';
import type { Predecessor } from './succession.ts';

const recordSchema = z.strictObject({
  instance: z.string(),
  contextId: z.string().regex(/^[0-9a-f]{32}$/),
  generation: z.int().min(0),
  hash: z.string().regex(/^[0-9a-f]{64}$/),
});

/**
 * What this host remembers of its keysets (`docs/spec/keyset-v2.md` §7): for each instance the newest manifest that it has used. So a plugin
 * that starts without keys in memory recognises a keyset that was rolled back or exchanged.
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
  async read(instance: string): Promise<Predecessor | undefined> {
    const text = await this.#files.read(fileName(instance));
    return text === undefined ? undefined : recordSchema.parse(JSON.parse(text));
  }

  async write(instance: string, { contextId, generation, hash }: Predecessor): Promise<void> {
    await this.#files.make();
    const record = `${JSON.stringify({ instance, contextId, generation, hash })}\n`;
    await this.#files.write(fileName(instance), Buffer.from(record), 0o600);
  }
}

const fileName = (instance: string): string =>
  `${createHash('sha256').update(instance).digest('hex').slice(0, 32)}.json`;
