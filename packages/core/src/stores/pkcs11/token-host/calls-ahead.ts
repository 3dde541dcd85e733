/** Even of a slow token, so that a thread that is done finds the next. */
const FEWEST = 2;
const MOST = 16;
const AHEAD_MS = 80;

/**
 * Calls that the process is given for each of its threads: enough for all to go on while the plugin's thread takes in a storm
 * (10,000 calls in 60 to 120 ms). Who comes next waits for them, so no more than are done in so many ms.
 * @param keyMs - what a wrap or an unwrap takes, as far as that is known
 */
export function callsAhead(keyMs: number | undefined): number {
  return keyMs === undefined ? FEWEST : Math.max(FEWEST, Math.min(MOST, Math.floor(AHEAD_MS / keyMs)));
}
