import type { Finding } from '@teapot-kms/core';
import type { Config } from '../config/schema.ts';

/** Time limit in ms for the answer. */
const TIMEOUT_MS = 3_000;

/** Whether health and metrics can be had where the configuration says. @param pid - of the running plugin */
export async function examineHttp(http: Config['http'], pid: number | undefined, file: string): Promise<Finding[]> {
  if (http === false) return [];
  const host = http.host.includes(':') ? `[${http.host}]` : http.host;
  const about = `http://${host}:${http.port}`;
  const taken = {
    about,
    text: 'another program has this port; health and metrics cannot be had',
    remedy: `end the program that has port ${http.port} (ss -ltnp "sport = :${http.port}"), or set another http.port in ${file} and restart the plugin`,
  };
  try {
    const answer = await fetch(`${about}/livez`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    const ours = pid !== undefined && answer.ok && (await answer.text()).startsWith('ok');
    return ours ? [{ level: 'ok', about, text: 'answers' }] : [{ level: 'problem', ...taken }];
  } catch (error) {
    const refused = (error as { cause?: { code?: string } }).cause?.code === 'ECONNREFUSED';
    if (!refused) return [{ level: 'problem', ...taken }];
    if (pid === undefined) return [];
    const remedy = 'read the log of the plugin; a changed "http" takes effect at the next start';
    return [{ level: 'problem', about, text: 'the plugin does not listen there', remedy }];
  }
}
