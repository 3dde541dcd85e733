import { extname } from 'node:path';
import type { Piscina } from 'piscina';
import { doJob } from '../envelope/gcm.ts';
import type { GcmJob, GcmRunner } from '../envelope/gcm.ts';
import { KmsError } from '../errors.ts';
import { packBatch, unpackBatch } from './batch.ts';

const WORKER = new URL(`./worker${extname(import.meta.url)}`, import.meta.url).href;
/** Most jobs in a batch for one thread. */
const MAX_BATCH = 256;
/** Fewer jobs than this are done in this thread: waking other threads takes as long. */
const MIN_JOBS = 4;
/** Time in ms after which an idle thread ends. A thread takes about 10 MB. */
const IDLE_MS = 60_000;

interface Waiting {
  readonly job: GcmJob;
  readonly resolve: (result: Buffer | undefined) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Does AES-GCM in other threads. The jobs of one turn of the event loop form batches, because a message to a thread costs as much as sealing
 * a few kilobytes. The first job loads Piscina and starts threads.
 */
export class GcmPool implements GcmRunner {
  readonly #maxThreads: number;
  readonly #underWay = new Set<Promise<void>>();
  #piscina: Promise<Piscina<SharedArrayBuffer, undefined>> | undefined;
  #waiting: Waiting[] = [];
  #turn: NodeJS.Immediate | undefined;
  #closed = false;

  constructor(maxThreads: number) {
    this.#maxThreads = maxThreads;
  }

  run(job: GcmJob): Promise<Buffer | undefined> {
    if (this.#closed) {
      job.messageKey.fill(0);
      return Promise.reject(new KmsError('ERR_KMS_CLOSED', 'the crypto pool is closed'));
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ job, resolve, reject });
      this.#turn ??= setImmediate(() => this.#flush());
    });
  }

  /** Ends the threads after they have finished their jobs. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#flush();
    await Promise.all(this.#underWay);
    await (await this.#piscina?.catch(() => undefined))?.destroy();
  }

  #flush(): void {
    clearImmediate(this.#turn);
    this.#turn = undefined;
    const waiting = this.#waiting;
    this.#waiting = [];
    const here = waiting.length < MIN_JOBS;
    const size = here ? MIN_JOBS : Math.min(MAX_BATCH, Math.ceil(waiting.length / this.#maxThreads));
    for (let at = 0; at < waiting.length; at += size) {
      const done = this.#do(waiting.slice(at, at + size), here).finally(() => this.#underWay.delete(done));
      this.#underWay.add(done);
    }
  }

  async #do(batch: readonly Waiting[], here: boolean): Promise<void> {
    const jobs = batch.map(({ job }) => job);
    try {
      const results = here ? jobs.map(doJob) : await this.#doElsewhere(jobs);
      batch.forEach(({ resolve }, index) => resolve(results[index]));
    } catch (cause) {
      const error = new KmsError('ERR_KMS_STORE_UNAVAILABLE', 'a thread of the crypto pool failed', { cause });
      for (const { reject } of batch) reject(error);
    }
  }

  /** Starts Piscina. The next job retries a failed start. */
  #started(): Promise<Piscina<SharedArrayBuffer, undefined>> {
    return (this.#piscina ??= start(this.#maxThreads).catch((error: unknown) => {
      this.#piscina = undefined;
      throw error;
    }));
  }

  async #doElsewhere(jobs: readonly GcmJob[]): Promise<(Buffer | undefined)[]> {
    const memory = packBatch(jobs);
    try {
      await (await this.#started()).run(memory);
      return unpackBatch(memory, jobs);
    } finally {
      Buffer.from(memory).fill(0);
    }
  }
}

async function start(maxThreads: number): Promise<Piscina<SharedArrayBuffer, undefined>> {
  const { Piscina } = await import('piscina');
  return new Piscina({ filename: WORKER, minThreads: 0, maxThreads, idleTimeout: IDLE_MS, recordTiming: false });
}
