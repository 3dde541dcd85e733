import type { Clock } from '@teapot-kms/core';
import type { ScanProgress } from '../inspect/scan.ts';
import { age } from './output.ts';

/** ms between two lines: on a terminal one line is overwritten, in a log each stays. */
const TERMINAL_MS = 1_000;
const LOG_MS = 10_000;

/** Where progress is shown. */
export type ProgressStream = Pick<NodeJS.WriteStream, 'write' | 'isTTY'>;

/**
 * Shows how far a scan is and how long the rest will take.
 * @returns what takes the progress, and what ends the line
 */
export function progressLine(
  clock: Clock,
  stream: ProgressStream,
): { show: (progress: ScanProgress) => void; end: () => void } {
  const started = clock.now();
  const everyMs = stream.isTTY ? TERMINAL_MS : LOG_MS;
  let next = started + everyMs;
  let shown = false;
  return {
    show({ objects, fraction }) {
      const time = clock.now();
      if (time < next) return;
      next = time + everyMs;
      shown = true;
      const elapsedMs = time - started;
      const perSecond = Math.round((objects * 1000) / elapsedMs);
      const left = fraction === 0 ? '' : `, ${age((elapsedMs * (1 - fraction)) / fraction)} left`;
      const line = `${objects} objects, ${Math.floor(fraction * 100)} %, ${perSecond} per second${left}`;
      stream.write(stream.isTTY ? `\r\u001b[K${line}` : `${line}\n`);
    },
    end() {
      if (shown && stream.isTTY) stream.write('\n');
    },
  };
}
