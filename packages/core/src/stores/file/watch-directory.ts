import { watch } from 'node:fs';

/** Changes come in bursts: one load some ms after the first of them. */
const DEBOUNCE_MS = 20;

/** Watches by inotify; where that is not to be had (no directory yet, no watches left) the periodic load must do. */
export function watchDirectory(directory: string, onChange: () => void): () => void {
  let timer: NodeJS.Timeout | undefined;
  try {
    const watcher = watch(directory, { persistent: false }, () => {
      timer ??= setTimeout(() => {
        timer = undefined;
        onChange();
      }, DEBOUNCE_MS).unref();
    });
    watcher.on('error', () => watcher.close());
    return () => {
      clearTimeout(timer);
      watcher.close();
    };
  } catch {
    return () => undefined;
  }
}
