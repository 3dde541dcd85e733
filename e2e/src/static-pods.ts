// The part of the kubelet that runs static pods: each manifest in a directory is a process with the flags that it names.
import { Daemon } from '@teapot-kms/testing/daemons';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';

interface Pod {
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly containers: readonly { readonly command?: readonly string[]; readonly args?: readonly string[] }[];
  };
}

interface Running {
  readonly text: string;
  readonly daemon: Daemon;
}

/** ms between two looks at the directory. A container that has ended starts again at the next one. */
const LOOK_MS = 250;

export class StaticPods {
  readonly #directory: string;
  /** What runs in place of an image, by the name of the pod. */
  readonly #programs: ReadonlyMap<string, string>;
  readonly #logDirectory: string;
  readonly #running = new Map<string, Running>();
  #looking: Promise<void> | undefined;
  #closed = false;

  constructor(directory: string, programs: ReadonlyMap<string, string>, logDirectory: string) {
    this.#directory = directory;
    this.#programs = programs;
    this.#logDirectory = logDirectory;
    this.#looking = this.#follow();
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#looking;
    for (const { daemon } of this.#running.values()) await daemon.kill();
  }

  async #follow(): Promise<void> {
    while (!this.#closed) {
      await this.#look();
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }

  async #look(): Promise<void> {
    // As the kubelet: every file, whatever its name ends in, but none that begins with a dot.
    const names = readdirSync(this.#directory).filter((name) => !name.startsWith('.'));
    for (const [name, { daemon }] of this.#running) {
      if (names.includes(name)) continue;
      await daemon.kill();
      this.#running.delete(name);
    }
    for (const name of names) {
      const text = readFileSync(join(this.#directory, name), 'utf8');
      const running = this.#running.get(name);
      if (running?.text === text && running.daemon.running) continue;
      await running?.daemon.kill();
      this.#running.set(name, { text, daemon: this.#start(parse(text) as Pod) });
    }
  }

  #start({ metadata: { name }, spec }: Pod): Daemon {
    const command = this.#programs.get(name);
    if (command === undefined) throw new Error(`no program for pod ${name}`);
    const { command: [, ...words] = [], args = [] } = spec.containers[0]!;
    const logFile = join(this.#logDirectory, `${name}.log`);
    return new Daemon({ name, command, args: [...words, ...args], logFile });
  }
}
