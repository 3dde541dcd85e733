/** A call that nobody gives up. */
export const patient = { signal: new AbortController().signal };

/** A call and what gives it up. */
export function impatient(): { readonly signal: AbortSignal; readonly giveUp: (reason?: unknown) => void } {
  const controller = new AbortController();
  return { signal: controller.signal, giveUp: (reason) => controller.abort(reason) };
}
