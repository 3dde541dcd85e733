import type { Finding } from '@teapot-kms/core';
import type { Config } from '../config/schema.ts';

/** Time limit in ms for the answer. */
const TIMEOUT_MS = 3_000;

/** Whether health and metrics can be had where the configuration says. @param pid - of the running plugin */
export async function examineHttp(http: Config['http'], pid: number | undefined): Promise<Finding[]> {
  if (http === false || pid === undefined) return [];
  const host = http.host.includes(':') ? `[${http.host}]` : http.host;
  const about = `http://${host}:${http.port}`;
  try {
    const answer = await fetch(`${about}/livez`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (answer.ok && (await answer.text()).startsWith('ok')) return [{ level: 'ok', about, text: 'answers' }];
    return [{ level: 'problem', about, text: 'another program has this port', remedy: `choose another http.port` }];
  } catch {
    const remedy = 'choose another http.port if another program has this one; the log of the plugin says why';
    return [{ level: 'problem', about, text: 'does not answer', remedy }];
  }
}
