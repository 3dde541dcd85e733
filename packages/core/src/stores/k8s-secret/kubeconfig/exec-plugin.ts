import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { resolve } from 'node:path';
import * as z from 'zod';
import { KmsError, unavailable } from '../../../errors.ts';
import { unlessAborted } from '../../../util/abort.ts';
import type { Clock } from '../../../util/clock.ts';
import { safeText } from '../../../util/safe-text.ts';
import { checkPair, checkToken } from './identity.ts';
import type { Identity } from './identity.ts';
import { unusable } from './load.ts';
import type { Entry } from './load.ts';
import { text } from './schema.ts';
import type { Cluster, ExecConfig, User } from './schema.ts';

/** ms for one run of a plugin. */
const TIMEOUT_MS = 30_000;
/** Bytes that a plugin may print. */
const MAX_OUTPUT_BYTES = 512 * 1024;
/** Characters at the end of its complaints that an error repeats. */
const SHOWN_CHARS = 200;
/** Characters at their end that it is taken from. */
const LOOKED_AT_CHARS = 64 * 1024;

const GROUP = 'client.authentication.k8s.io';
const VERSIONS = [`${GROUP}/v1`, `${GROUP}/v1beta1`];

/** One run of a plugin. Two that are equal give the same identity. */
export interface PluginCall {
  readonly where: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: readonly (readonly [name: string, value: string])[];
  readonly apiVersion: string;
  /** `KUBERNETES_EXEC_INFO`. */
  readonly info: string;
  readonly installHint: string | undefined;
}

export interface PluginContext {
  readonly clock: Clock;
  /** The environment that the plugin inherits. */
  readonly env: NodeJS.ProcessEnv;
  /** Ends a run. */
  readonly signal: AbortSignal;
}

/**
 * What client-go would run for a user (plugin/pkg/client/auth/exec).
 * @param ca - PEM of the cluster's authorities
 * @throws {@link KmsError} `ERR_KMS_INVALID_URI`
 */
export function pluginCall(user: Entry<User>, exec: ExecConfig, cluster: Cluster, ca: Buffer | undefined): PluginCall {
  const { command, apiVersion = '', interactiveMode = apiVersion === VERSIONS[0] ? undefined : 'IfAvailable' } = exec;
  const where = `${user.where}: exec`;
  if (command === undefined) throw unusable(`${where}: expected a command, found none`);
  if (!VERSIONS.includes(apiVersion)) throw unusable(`${where}: expected apiVersion ${VERSIONS.join(' or ')}`);
  if (interactiveMode !== 'Never' && interactiveMode !== 'IfAvailable') {
    const why = interactiveMode === 'Always' ? '; a service has no terminal for Always' : '';
    throw unusable(`${where}: expected interactiveMode Never or IfAvailable${why}`);
  }
  const env = exec.env.map(({ name, value }) => {
    if (name === undefined) throw unusable(`${where}: expected a name for each variable in env`);
    return [name, value ?? ''] as const;
  });
  const described = exec.provideClusterInfo && { cluster: clusterInfo(cluster, ca) };
  return {
    where,
    command: command.includes('/') ? resolve(user.directory, command) : command,
    args: exec.args,
    env,
    apiVersion,
    info: JSON.stringify({ kind: 'ExecCredential', apiVersion, spec: { ...described, interactive: false } }),
    installHint: exec.installHint,
  };
}

const credential = z.object({
  kind: z.literal('ExecCredential'),
  apiVersion: z.string(),
  status: z
    .object({ token: text, clientCertificateData: text, clientKeyData: text, expirationTimestamp: text })
    .nullish(),
});

/**
 * Runs a plugin, without a terminal and for 30 s at most, and reads what it prints.
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`
 */
export async function runPlugin(call: PluginCall, context: PluginContext): Promise<Identity> {
  return readCredential(await run(call, aboutCall(call), context), call);
}

const aboutCall = ({ where, command }: PluginCall): string => `${where}: command ${command}`;

/**
 * Reads what a plugin has printed.
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`
 */
export function readCredential(printed: string, call: PluginCall): Identity {
  const { command, apiVersion } = call;
  const about = aboutCall(call);
  const remedy = `run ${command} by hand`;
  const said = (what: string): KmsError => unavailable(`${about} ${what}`, { remedy });
  let json: unknown;
  try {
    json = JSON.parse(printed);
  } catch {
    // JSON that was cut off holds the token.
    const shown = /^\s*\{/.test(printed) ? '' : `: ${withoutSecrets(printed, call)}`;
    throw said(`printed something else than an ExecCredential in JSON${shown}`);
  }
  const { data: answer, error } = credential.safeParse(json);
  if (error?.issues[0]?.path[0] === 'status') throw said('printed a status with a field that is not a string');
  if (answer?.apiVersion !== apiVersion) {
    throw said(`did not print an object of kind ExecCredential and apiVersion ${apiVersion}`);
  }
  const { token, clientCertificateData, clientKeyData, expirationTimestamp } = answer.status ?? {};
  const [cert, key] = [clientCertificateData, clientKeyData].map((pem) => (pem ? Buffer.from(pem) : undefined));
  if (!token && !cert && !key) throw said('printed neither a token nor a certificate with its key');
  const expiresAt = expirationTimestamp ? Date.parse(expirationTimestamp) : undefined;
  if (Number.isNaN(expiresAt)) throw said('printed an expirationTimestamp that is no time');
  try {
    if (cert ?? key) checkPair(cert, key, `${about} printed`);
    return { token: token && checkToken(token, `${about} printed`), cert, key, expiresAt };
  } catch (cause) {
    throw unavailable((cause as Error).message, { cause, remedy });
  }
}

function clusterInfo(cluster: Cluster, ca: Buffer | undefined): object {
  // JSON leaves out what is undefined.
  return {
    server: cluster.server,
    'tls-server-name': cluster['tls-server-name'],
    'insecure-skip-tls-verify': cluster['insecure-skip-tls-verify'] || undefined,
    'certificate-authority-data': ca?.toString('base64'),
    'proxy-url': cluster['proxy-url'],
    'disable-compression': cluster['disable-compression'] || undefined,
    config: cluster.extensions.find(({ name }) => name === `${GROUP}/exec`)?.extension,
  };
}

/** @returns what the plugin has printed on its standard output */
async function run(call: PluginCall, about: string, { clock, env, signal }: PluginContext): Promise<string> {
  const failed = (what: string, remedy = `run ${call.command} by hand`): KmsError =>
    unavailable(`${about} ${what}`, { remedy });
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const cancel = clock.after(TIMEOUT_MS, () => reject(failed(`did not end within ${TIMEOUT_MS / 1000} s`)));
  let child: ChildProcess | undefined;
  try {
    child = spawnPlugin(call, env).on('error', reject);
    const { stdout, stderr } = child;
    const [out, complaints] = [[] as Buffer[], [] as Buffer[]];
    let length = 0;
    const collect = (into: Buffer[]) => (chunk: Buffer) => {
      into.push(chunk);
      length += chunk.length;
      if (length > MAX_OUTPUT_BYTES) reject(failed(`printed more than ${MAX_OUTPUT_BYTES} bytes`));
    };
    // Without file descriptors there are no streams.
    const printed = new Promise((resolve) => stdout?.on('data', collect(out)).on('close', resolve));
    stderr?.on('data', collect(complaints));
    child.on('exit', (code, killedBy) => {
      // Not `close`: a helper that the plugin has left behind may hold stderr. What the plugin wrote there is read in this turn.
      void printed.then(() =>
        setImmediate(() => {
          if (code === 0) return resolve(Buffer.concat(out).toString('utf8'));
          const text = withoutSecrets(Buffer.concat(complaints).toString('utf8'), call);
          reject(failed(`ended with ${code === null ? (killedBy ?? '') : `exit code ${code}`}: ${text}`));
        }),
      );
    });
    return await unlessAborted(promise, signal);
  } catch (error) {
    if (child?.pid !== undefined && running.has(child.pid)) killGroup(child.pid);
    if (error instanceof KmsError) throw error;
    // Not as the cause: its message may repeat a variable.
    const { code = '' } = error as NodeJS.ErrnoException;
    throw failed(`cannot be run (${code})`, safeText(call.installHint ?? `install ${call.command}`));
  } finally {
    cancel();
    // A helper that the plugin has left behind may hold them.
    for (const stream of [child?.stdout, child?.stderr]) stream?.destroy();
  }
}

/** In a process group of its own: without a terminal, and its children end with it. */
function spawnPlugin({ command, args, env: own, info }: PluginCall, env: NodeJS.ProcessEnv): ChildProcess {
  let child: ChildProcess | undefined;
  // Before it runs: a signal may arrive at once.
  hold();
  try {
    child = spawn(command, args, {
      env: { ...env, ...Object.fromEntries(own), KUBERNETES_EXEC_INFO: info },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
  } finally {
    if (child?.pid === undefined) release();
  }
  const group = child.pid;
  if (group === undefined) return child;
  running.add(group);
  return child.on('exit', () => {
    running.delete(group);
    release();
  });
}

/** Process groups of the plugins that run. What ends us, such as Ctrl-C, does not reach them. */
const running = new Set<number>();
/** Plugins that run or are about to. */
let held = 0;

function hold(): void {
  if (held++ === 0) listen('on');
}

function release(): void {
  if (--held === 0) listen('off');
}

function listen(onOrOff: 'on' | 'off'): void {
  process[onOrOff]('exit', killAll);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process[onOrOff](signal, endBy);
}

const killAll = (): void => running.forEach(killGroup);

/** Does what happens without a listener, after the plugins. Whoever else listens decides about our end. */
function endBy(signal: NodeJS.Signals): void {
  if (process.listenerCount(signal) > 1) return;
  killAll();
  process.off(signal, endBy);
  process.kill(process.pid, signal);
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

/** Hides the values of `env`, and words so long that they may be a token. Returns the end, where the reason is. */
function withoutSecrets(printed: string, { env }: PluginCall): string {
  let text = printed;
  // A value may be a part of another one.
  const values = env.map(([, value]) => value).sort((a, b) => b.length - a.length);
  for (const value of values) if (value.length > 3) text = text.replaceAll(value, '[hidden]');
  // A word that begins before the end may be a token, of which less than 24 characters are left.
  const end = text.length > LOOKED_AT_CHARS ? text.slice(-LOOKED_AT_CHARS).replace(/^[^\s"'<>]+/, '') : text;
  const line = safeText(end.replace(/[^\s"'<>]{24,}/g, '[hidden]'), LOOKED_AT_CHARS);
  return safeText(line.slice(-SHOWN_CHARS)) || 'nothing';
}
