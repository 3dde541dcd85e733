import { safeText, shownUri, systemClock } from '@teapot-kms/core';
import type { Finding } from '@teapot-kms/core';
import { packTar } from 'modern-tar';
import { readFileSync } from 'node:fs';
import type { RequestOptions } from 'node:http';
import { arch, release, totalmem } from 'node:os';
import { gzipSync } from 'node:zlib';
import { KmsClient } from '../client/client.ts';
import type { Config, KeysConfig } from '../config/schema.ts';
import { diagnose } from '../doctor/diagnose.ts';
import { version } from '../version.ts';
import { endOfJournal, LOG_LINES, MAX_LINE } from './log-end.ts';

const MAX_METRICS_BYTES = 4 * 1024 * 1024;
const TIMEOUT_MS = 5_000;

export interface Collected {
  /** By name in the archive. */
  readonly files: ReadonlyMap<string, string>;
  /** What could not be had, and why. */
  readonly missing: readonly string[];
}

/**
 * Collects what a report of a problem needs. Nothing is read that may be a secret: no key store, PIN file or login.
 * @param config - or why it is refused, in words without its values
 * @param log - its text; otherwise the journal of the unit is taken
 */
export async function collect(config: Config | Error, file: string, log: string | undefined): Promise<Collected> {
  const files = new Map<string, string>();
  const missing: string[] = [];
  const add = async (name: string, make: () => string | Promise<string>): Promise<void> => {
    try {
      files.set(name, await make());
    } catch (error) {
      missing.push(`${name}: ${safeText((error as Error).message)}`);
    }
  };
  await add('versions.json', versions);
  await add('log.txt', () => lastLines(log ?? endOfJournal()));
  if (config instanceof Error) {
    await add('config-problem.txt', () => config.message);
    return { files, missing };
  }
  const { http } = config;
  await add('config.json', () => json(withoutSecrets(config)));
  await add('doctor.json', async () => {
    const findings: Finding[] = [];
    for await (const finding of diagnose(config, file)) findings.push(finding);
    return json(findings);
  });
  await add('status.json', async () => json(await Promise.all(config.instances.map(({ socket }) => statusOf(socket)))));
  if (http !== false) await add('metrics.txt', () => metricsOf(http));
  return { files, missing };
}

/** A tar archive with gzip. */
export async function packBundle(files: ReadonlyMap<string, string>): Promise<Buffer> {
  const entries = [...files].map(([name, text]) => {
    const body = Buffer.from(text);
    return { header: { name: `teapot-kms-support/${name}`, size: body.length, mode: 0o600 }, body };
  });
  return gzipSync(await packTar(entries));
}

const json = (value: unknown): string => `${JSON.stringify(value, undefined, 2)}\n`;

function versions(): string {
  const [, os = ''] = /^PRETTY_NAME="?(.*?)"?$/m.exec(readFileSync('/etc/os-release', 'utf8')) ?? [];
  const memoryMiB = Math.round(totalmem() / 1_048_576);
  const time = new Date(systemClock.wall()).toISOString();
  return json({ version, node: process.version, os, kernel: release(), architecture: arch(), memoryMiB, time });
}

/** The configuration as it is understood. A key URI may contain a PIN; other settings name files, and hold no secret. */
function withoutSecrets(config: Config): object {
  const shown = (keys: KeysConfig): KeysConfig => ({ ...keys, uri: shownUri(keys.uri) });
  const instances = config.instances.map((one) => ({
    ...one,
    keys: shown(one.keys),
    decryptOnly: one.decryptOnly.map(shown),
  }));
  return { ...config, instances };
}

async function statusOf(socket: string): Promise<object> {
  const client = new KmsClient(socket);
  try {
    return { socket, status: await client.status(), description: await client.describe() };
  } catch (error) {
    return { socket, error: safeText((error as Error).message) };
  } finally {
    client.close();
  }
}

function lastLines(text: string): string {
  const lines = text.trimEnd().split('\n').slice(-LOG_LINES);
  return lines.map((line) => `${safeText(line, MAX_LINE)}\n`).join('');
}

function metricsOf(http: Exclude<Config['http'], false>): Promise<string> {
  const address: RequestOptions = 'socket' in http ? { socketPath: http.socket } : { host: http.host, port: http.port };
  const { get } = process.getBuiltinModule('node:http');
  return new Promise((resolve, reject) => {
    const options = { ...address, path: '/metrics', agent: false, signal: AbortSignal.timeout(TIMEOUT_MS) };
    get(options, (answer) => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (chunk: string) => {
        text += chunk;
        if (text.length > MAX_METRICS_BYTES) answer.destroy(new Error('the metrics are too long'));
      });
      answer.once('end', () => resolve(text)).once('error', reject);
    }).once('error', reject);
  });
}
