import { until } from '@teapot-kms/testing';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Reads the memory usage of a plugin that was started with {@link MemoryProbe.nodeArgs} and {@link MemoryProbe.env}. */
export class MemoryProbe {
  readonly nodeArgs = ['--expose-gc', '--import', join(import.meta.dirname, 'probe.ts')];
  readonly env: Readonly<Record<string, string>>;
  readonly #file: string;

  /** @param file - the plugin appends its memory usage to this file */
  constructor(file: string) {
    this.#file = file;
    this.env = { TEAPOT_HEAP_PROBE: file };
  }

  /** Collects all garbage and returns the bytes held by V8 and Buffers, and the resident bytes. */
  async look(pid: number): Promise<{ readonly heap: number; readonly resident: number }> {
    const before = this.#lines().length;
    process.kill(pid, 'SIGUSR2');
    const line = await until('the plugin has collected its garbage', () => this.#lines()[before], { everyMs: 20 });
    const { heapUsed, external, rss } = JSON.parse(line) as NodeJS.MemoryUsage;
    return { heap: heapUsed + external, resident: rss };
  }

  #lines(): string[] {
    return existsSync(this.#file) ? readFileSync(this.#file, 'utf8').split('\n').slice(0, -1) : [];
  }
}
