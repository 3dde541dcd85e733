import type { Clock } from '../../../util/clock.ts';
import { redactBytes } from '../../../util/redact.ts';
import type { SecretBytes } from '../../../util/secret-bytes.ts';
import { withTimeout } from '../../../util/timeout.ts';
import { readPin } from '../pin-source.ts';

/** Bytes at the end of the output that are kept. */
const MAX_OUTPUT = 2_000;
const SHOWN_LINES = 3;
/** ms to read PINs. The next process of the module waits for it. */
const READ_MS = 1_000;

/** What a module prints, which may repeat the PIN: a module that traces its calls does. */
export class ModuleOutput {
  #bytes = Buffer.alloc(0);

  get isEmpty(): boolean {
    return this.#bytes.toString().trim() === '';
  }

  add(chunk: Buffer): void {
    const all = Buffer.concat([this.#bytes, chunk]);
    this.#bytes.fill(0);
    this.#bytes = Buffer.from(all.subarray(-MAX_OUTPUT));
    all.fill(0);
  }

  /**
   * The last lines, without the PINs that are in `sources` now. Nothing is shown where one of them cannot be read: it may be in there.
   * @param sources - as for {@link readPin}
   */
  async lastLines(sources: ReadonlySet<string>, clock: Clock): Promise<string> {
    const pins: SecretBytes[] = [];
    try {
      const read = async (): Promise<void> => {
        for (const source of sources) pins.push(await readPin(source, process.env));
      };
      await withTimeout(clock, READ_MS, 'the PIN', read);
      redactBytes(
        this.#bytes,
        pins.map((pin) => pin.expose()),
      );
    } catch {
      return 'it printed something, which is not shown, because it may repeat a PIN that cannot be read now';
    } finally {
      for (const pin of pins) pin.wipe();
    }
    return `it last printed: ${this.#bytes.toString().trim().split('\n').slice(-SHOWN_LINES).join(' | ')}`;
  }
}
