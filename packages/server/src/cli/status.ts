import { safeText } from '@teapot-kms/core';
import { Option } from 'commander';
import type { Command } from 'commander';
import { randomBytes } from 'node:crypto';
import type { KmsClient } from '../client/client.ts';
import { keyIdHash } from '../kms/key-id-hash.ts';
import type { InstanceDescription } from '../observability/metrics.ts';
import { ExitCode, UsageError } from './exit-codes.ts';
import { instanceOf, socketPathOf } from './key-store.ts';
import type { KeyStoreOptions } from './key-store.ts';
import { roleOf } from './keys-output.ts';
import { age, outputOption, print, printError, table } from './output.ts';
import type { OutputFormat } from './output.ts';

/** `KeyIDMaxSize` (k8s.io/apiserver kmsv2/envelope.go). */
const MAX_KEY_ID_BYTES = 1_024;

interface StatusOptions extends KeyStoreOptions {
  readonly socket?: string;
  readonly output: OutputFormat;
  readonly report?: boolean;
  readonly nonce?: string;
}

type Answer = Awaited<ReturnType<KmsClient['status']>> | { readonly error: string };

export function registerStatus(program: Command): void {
  program
    .command('status')
    .description('Call Status of a running plugin, and show what kube-apiserver would make of the answer')
    .addOption(
      new Option('-s, --socket <path>', 'socket of the plugin: a path, or unix://PATH as for kube-apiserver').conflicts(
        ['config', 'instance'],
      ),
    )
    .option('-c, --config <file>', 'use the socket of an instance of this configuration')
    .option('-i, --instance <name>', 'name of the instance; optional if there is only one')
    .option('--report', 'print what this plugin proves of its keys, for "keys promote" on any host')
    .option('--nonce <hex>', 'with --report: 32 hexadecimal digits that the report must contain')
    .addOption(outputOption())
    .action(status);
}

async function status({ socket: given, output, report, nonce, ...options }: StatusOptions): Promise<void> {
  if (nonce !== undefined && !report) throw new UsageError('--nonce belongs to --report');
  if (nonce !== undefined && !/^[0-9a-f]{32}$/.test(nonce)) {
    throw new UsageError(`--nonce: expected 32 hexadecimal digits (0-9, a-f), found ${safeText(nonce, 50)}`);
  }
  const socket = given === undefined ? instanceOf(options).socket : socketPathOf(given);
  const { KmsClient } = await import('../client/client.ts');
  const client = new KmsClient(socket);
  if (report) return printReport(client, socket, nonce ?? randomBytes(16).toString('hex'));
  const answer = await client.status().then(
    (status) => ({ ...status, keyIdHash: keyIdHash(status.keyId) }),
    (error: unknown) => ({ error: (error as Error).message }),
  );
  // Other plugins do not have this call.
  const description = (await client.describe().catch(() => undefined)) as InstanceDescription | undefined;
  client.close();
  const complaints = apiserverComplaints(answer);
  const { warnings = [], hints = [] } = description ?? {};
  if (complaints.length > 0 || warnings.length > 0) process.exitCode = ExitCode.UNHEALTHY;
  if (output === 'json') {
    print(JSON.stringify({ socket, status: answer, complaints, warnings, description }));
    return;
  }
  print(`socket   ${socket}`);
  if (!('error' in answer)) {
    // Another plugin than ours may have answered.
    const [healthz, version, keyId] = [answer.healthz, answer.version, answer.keyId].map((text) =>
      safeText(text, 1_000),
    );
    print(`healthz  ${healthz}\nversion  ${version}\nkey_id   ${keyId}`);
    print(`         ${answer.keyIdHash} in kube-apiserver's metrics`);
  }
  if (description) print(describe(description));
  for (const warning of warnings) print(`WARNING  ${warning}`);
  for (const hint of hints) print(`hint     ${hint}`);
  if (complaints.length === 0) print('\nkube-apiserver accepts this answer.');
  else print(`\nkube-apiserver would report:\n  ${complaints.join('\n  ')}`);
}

async function printReport(client: KmsClient, socket: string, nonce: string): Promise<void> {
  try {
    print(await client.report(nonce));
  } catch (error) {
    printError(`no report from ${socket}: ${safeText((error as Error).message, 1_000)}`);
    process.exitCode = ExitCode.UNHEALTHY;
  } finally {
    client.close();
  }
}

/** What the plugin says of itself, as text. */
export function describe(description: InstanceDescription): string {
  const { instance, version, pid, uri, primary, keyset, decryptOnly = [], keys, lastGoodProbeAgeMs } = description;
  const probe = lastGoodProbeAgeMs === undefined ? 'never' : `${age(lastGoodProbeAgeMs)} ago`;
  const rows = keys.map((key) => {
    // A retired key is not loaded, so nobody can tell.
    const mark = key.verified || key.state === 'retired' ? '' : ', unverified';
    return [key.id, `${roleOf(key, primary)}${mark}`, String(key.decrypts)];
  });
  const lines = [
    `plugin   teapot-kms ${version}, instance ${instance}, pid ${pid}`,
    `store    ${uri}, last good answer ${probe}`,
    `keyset   ${keysetText(keyset)}`,
    ...decryptOnly.map((store) => `decrypts ${store.uri}, keyset ${keysetText(store.keyset)}`),
  ];
  return `${lines.join('\n')}\n\n${table([['KEY', 'STATE', 'DECRYPTS'], ...rows])}`;
}

const keysetText = (keyset: InstanceDescription['keyset']): string =>
  keyset ? `${keyset.contextId}, generation ${keyset.generation}` : 'not loaded';

/**
 * Returns the problems that kube-apiserver ≥ 1.29 finds in an answer to Status, in the order of its own checks
 * (k8s.io/apiserver encryptionconfig/config.go `isKMSv2ProviderHealthyAndMaybeRotateDEK`).
 */
function apiserverComplaints(answer: Answer): string[] {
  if ('error' in answer) return [`Status fails, so writes fail 3 minutes after the last good answer: ${answer.error}`];
  const { version, healthz, keyId } = answer;
  const complaints: string[] = [];
  if (healthz !== 'ok')
    complaints.push(
      `healthz: expected "ok", found ${JSON.stringify(healthz)}; /readyz fails, and writes still work while key_id is valid`,
    );
  if (version !== 'v2' && version !== 'v2beta1')
    complaints.push(`version: expected "v2", found ${JSON.stringify(version)}`);
  if (keyId === '') complaints.push('key_id is empty, so writes fail 3 minutes after the last good answer');
  if (Buffer.byteLength(keyId) > MAX_KEY_ID_BYTES)
    complaints.push(`key_id: expected at most ${MAX_KEY_ID_BYTES} bytes, found ${Buffer.byteLength(keyId)}`);
  return complaints;
}
