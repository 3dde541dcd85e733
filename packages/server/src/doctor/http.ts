import { shellWord } from '@teapot-kms/core';
import type { Finding } from '@teapot-kms/core';
import type { RequestOptions } from 'node:http';
import type { Config } from '../config/schema.ts';

/** Time limit in ms for the answer. */
const TIMEOUT_MS = 3_000;

/** Whether health and metrics can be had where the configuration says. @param pid - of the running plugin */
export async function examineHttp(http: Config['http'], pid: number | undefined, file: string): Promise<Finding[]> {
  if (http === false) return [];
  const { about, setting, address, find } = placeOf(http);
  const taken = {
    about,
    text: 'another program serves it; health and metrics cannot be had',
    remedy: `end that program (${find}), or set another ${setting} in ${file} and restart the plugin`,
  };
  try {
    const ours = (await isAnsweredByUs({ ...address, path: '/livez' })) && pid !== undefined;
    return ours ? [{ level: 'ok', about, text: 'answers' }] : [{ level: 'problem', ...taken }];
  } catch (error) {
    const absent = ['ECONNREFUSED', 'ENOENT'].includes((error as NodeJS.ErrnoException).code ?? '');
    if (!absent) return [{ level: 'problem', ...taken }];
    if (pid === undefined) return [];
    const remedy = 'read the log of the plugin; a changed "http" takes effect at the next start';
    return [{ level: 'problem', about, text: 'the plugin does not listen there', remedy }];
  }
}

function placeOf(http: Exclude<Config['http'], false>) {
  if ('socket' in http) {
    const { socket } = http;
    return {
      about: `http over ${socket}`,
      setting: 'http.socket',
      address: { socketPath: socket },
      find: `ss -lxp ${shellWord(`src ${socket}`)}`,
    };
  }
  const { host, port } = http;
  return {
    about: `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    setting: 'http.port',
    address: { host, port },
    find: `ss -ltnp "sport = :${port}"`,
  };
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
