import type { Finding } from '@teapot-kms/core';
import type { RequestOptions } from 'node:http';
import type { Config } from '../config/schema.ts';

/** Time limit in ms for the answer. */
const TIMEOUT_MS = 3_000;

/** Whether health and metrics can be had where the configuration says. @param pid - of the running plugin */
export async function examineHttp(http: Config['http'], pid: number | undefined): Promise<Finding[]> {
  if (http === false || pid === undefined) return [];
  const [about, setting, address] =
    'socket' in http
      ? [`http over ${http.socket}`, 'http.socket', { socketPath: http.socket }]
      : [`http://${http.host.includes(':') ? `[${http.host}]` : http.host}:${http.port}`, 'http.port', { ...http }];
  try {
    const answered = await isAnsweredByUs({ ...address, path: '/livez' });
    if (answered) return [{ level: 'ok', about, text: 'answers' }];
    return [{ level: 'problem', about, text: 'another program serves it', remedy: `choose another ${setting}` }];
  } catch {
    const remedy = `choose another ${setting} if another program has this one; the log of the plugin says why`;
    return [{ level: 'problem', about, text: 'does not answer', remedy }];
  }
}

function isAnsweredByUs(options: RequestOptions): Promise<boolean> {
  const { get } = process.getBuiltinModule('node:http');
  return new Promise((resolve, reject) => {
    get({ ...options, agent: false, signal: AbortSignal.timeout(TIMEOUT_MS) }, (answer) => {
      // Whatever it is, its beginning says it.
      answer.once('data', (chunk: Buffer) => resolve(answer.statusCode === 200 && chunk.toString().startsWith('ok')));
      answer.once('close', () => resolve(false)).on('error', reject);
    }).on('error', reject);
  });
}
