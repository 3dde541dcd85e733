import { watch } from 'node:fs';
import { systemClock } from '../../util/clock.ts';

/** Changes come in bursts. Time in ms from the first one to the call. */
const DEBOUNCE_MS = 20;

/**
 * Watches by inotify. If that is impossible (the directory does not exist, no watches left), nothing is watched.
 * @returns a function that ends the watch
 */
export function watchDirectory(directory: string, onChange: () => void, clock = systemClock): () => void {
  let cancel: (() => void) | undefined;
  try {
    const watcher = watch(directory, { persistent: false }, () => {
      cancel ??= clock.after(DEBOUNCE_MS, () => {
        cancel = undefined;
        onChange();
      });
    });
    watcher.on('error', () => watcher.close());
    return () => {
      cancel?.();
      watcher.close();
    };
  } catch {
    return () => undefined;
  }
}
