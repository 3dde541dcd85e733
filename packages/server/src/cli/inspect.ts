import { KmsError, safeText } from '@teapot-kms/core';
import type { KeysetSource, RemoteKek } from '@teapot-kms/core';
import type { Command } from 'commander';
import type { EnvelopeSummary } from '../inspect/envelope-summary.ts';
import { openObject } from '../inspect/object-cipher.ts';
import { openDekSource } from '../inspect/open-source.ts';
import type { KmsValue, StoredValue } from '../inspect/stored-value.ts';
import { summarize } from '../inspect/summary.ts';
import type { ValueSummary } from '../inspect/summary.ts';
import { parsePrinted, readInput, valueOfInput } from '../inspect/value-text.ts';
import { KUBEADM_FILES, withEtcd, withEtcdOptions } from './etcd-options.ts';
import type { EtcdOptions } from './etcd-options.ts';
import { ExitCode, UsageError } from './exit-codes.ts';
import { openKeyStores, withKeyStoreOptions } from './key-store.ts';
import type { KeyStoreOptions } from './key-store.ts';
import { outputOption, print } from './output.ts';
import type { OutputFormat } from './output.ts';

interface InspectOptions extends EtcdOptions, KeyStoreOptions {
  readonly etcd?: string;
  readonly key?: string;
  readonly showPlaintext?: boolean;
  readonly output: OutputFormat;
}

export function registerInspect(program: Command): void {
  const command = program
    .command('inspect [file]')
    .description('Show what a value in etcd is: its provider, key id and envelope, and whether a keyset opens it')
    .option(
      '--etcd <key>',
      'read the value of this key from etcd; without it, from the file or from stdin, raw or base64',
    );
  withKeyStoreOptions(withEtcdOptions(command))
    .option('--show-plaintext', 'also decrypt the object with the keyset, and print it in base64')
    .option('--key <key>', "with --show-plaintext and a file: the object's key in etcd, which it is bound to")
    .addOption(outputOption())
    .addHelpText(
      'after',
      `
With --uri or --config, the keyset is asked whether it opens the value. Exit code 3: it does not, or the value is damaged.
  etcdctl get /registry/secrets/default/one --print-value-only | teapot-kms inspect
  teapot-kms inspect --etcd /registry/secrets/default/one ${KUBEADM_FILES}`,
    )
    .action(inspect);
}

/** What a keyset makes of a value. */
type Verdict = { readonly uri: string } & (
  | { readonly opens: true }
  | { readonly opens: false; readonly code: string; readonly reason: string; readonly remedy?: string }
);

interface Inspected extends ValueSummary {
  /** Its key in etcd. */
  readonly key?: string;
  readonly bytes: number;
  readonly keyset?: Verdict;
  /** Base64; only with --show-plaintext. */
  readonly plaintext?: string;
}

async function inspect(file: string | undefined, options: InspectOptions): Promise<void> {
  checkOptions(file, options);
  const { etcd, key = etcd, showPlaintext = false, output } = options;
  const input = etcd === undefined ? valueOfInput(readInput(file ?? '/dev/stdin')) : await readFromEtcd(etcd, options);
  const { stored, bytes } = parsePrinted(input);
  checkPlaintext(stored, key, options);
  const summary = summarize(stored);
  const found: Inspected = {
    ...(key !== undefined && { key }),
    bytes: bytes.length,
    ...summary,
    ...(stored.provider === 'kms' && hasKeyStore(options) && (await ask(stored, summary.envelope!, options, key))),
    ...(stored.provider === 'identity' && showPlaintext && { plaintext: bytes.toString('base64') }),
  };
  if (found.problem !== undefined || found.keyset?.opens === false) process.exitCode = ExitCode.UNHEALTHY;
  print(output === 'json' ? JSON.stringify(found) : textOf(found));
}

const hasKeyStore = ({ uri, config }: KeyStoreOptions): boolean => uri !== undefined || config !== undefined;

/** @throws {@link UsageError} */
function checkOptions(file: string | undefined, options: InspectOptions): void {
  const { etcd } = options;
  if (file !== undefined && etcd !== undefined) throw new UsageError('expected a file or --etcd KEY, found both');
  if (file === undefined && etcd === undefined && process.stdin.isTTY) {
    throw new UsageError('expected a file, --etcd KEY, or a value on stdin');
  }
}

/**
 * Checks that the plaintext can be had.
 * @throws {@link UsageError}
 */
function checkPlaintext({ provider }: StoredValue, key: string | undefined, options: InspectOptions): void {
  if (!options.showPlaintext || provider === 'identity') return;
  if (provider !== 'kms') {
    throw new UsageError(
      `--show-plaintext: a key in kube-apiserver's own configuration encrypts this value (${provider})`,
    );
  }
  if (!hasKeyStore(options)) throw new UsageError('--show-plaintext needs the keyset: --uri URI, or --config FILE');
  if (key !== undefined) return;
  throw new UsageError(
    '--show-plaintext needs the key of the object in etcd: --key, such as /registry/secrets/NAMESPACE/NAME',
  );
}

function readFromEtcd(key: string, options: InspectOptions): Promise<Buffer> {
  return withEtcd(options, async (client) => {
    const { objects } = await client.range({ key: Buffer.from(key), limit: 1, revision: 0 });
    if (objects[0]) return objects[0].value;
    throw new UsageError(`etcd has no key ${JSON.stringify(key)}`);
  });
}

/** Lets the keysets open the value: the first one that does, else what the first one says. @param key - the object's key in etcd */
async function ask(
  value: KmsValue,
  envelope: EnvelopeSummary,
  options: InspectOptions,
  key: string | undefined,
): Promise<Pick<Inspected, 'keyset' | 'plaintext'>> {
  const answers: Pick<Inspected, 'keyset' | 'plaintext'>[] = [];
  const stores = openKeyStores(options);
  try {
    for (const store of stores) {
      const answer = await askOne(store, value, envelope, options, key);
      if (answer.keyset?.opens) return answer;
      answers.push(answer);
    }
    return answers[0]!;
  } finally {
    await Promise.all(stores.map(async (store) => store.close?.()));
  }
}

async function askOne(
  store: KeysetSource | RemoteKek,
  value: KmsValue,
  envelope: EnvelopeSummary,
  options: InspectOptions,
  key: string | undefined,
): Promise<Pick<Inspected, 'keyset' | 'plaintext'>> {
  const { uri } = store;
  let source: Buffer | undefined;
  try {
    source = await openDekSource(store, value, envelope);
    const keyset = { uri, opens: true } as const;
    if (!options.showPlaintext) return { keyset };
    const object = openObject(value, source, key!);
    const plaintext = object.toString('base64');
    object.fill(0);
    return { keyset, plaintext };
  } catch (error) {
    if (!(error instanceof KmsError)) throw error;
    const { code, message: reason, remedy } = error;
    return { keyset: { uri, opens: false, code, reason, ...(remedy !== undefined && { remedy }) } };
  } finally {
    source?.fill(0);
  }
}

function textOf(found: Inspected): string {
  const {
    key,
    bytes,
    provider,
    apiVersion = '',
    name,
    encoding,
    keyId,
    keyIdHash,
    dekSource,
    annotations,
    problem,
  } = found;
  const rows: (readonly [string, string | undefined])[] = [
    ['key', key],
    ['value', `${bytes} bytes`],
    ['provider', `${provider} ${apiVersion}`.trim() + (encoding === undefined ? '' : `: plain text, ${encoding}`)],
    ['name', name],
    ['key_id', keyId],
    ['', keyIdHash && `${keyIdHash} in kube-apiserver's metrics`],
    ['DEK source', dekSource && `${dekSource.type}, ${dekSource.bytes} bytes`],
    ['annotations', annotations && (annotations.join(', ') || 'none')],
    ...envelopeRows(found.envelope),
    ['PROBLEM', problem],
    ...verdictRows(found.keyset),
    ['plaintext', found.plaintext],
  ];
  const shown = rows.flatMap(([label, text]) =>
    text === undefined ? [] : [`${label.padEnd(13)}${label === 'plaintext' ? text : safeText(text, 1_100)}`],
  );
  return shown.join('\n');
}

function envelopeRows(envelope: EnvelopeSummary | undefined): (readonly [string, string | undefined])[] {
  if (!envelope) return [];
  if (envelope.format === 'other') return [['envelope', 'of another plugin']];
  if (envelope.format === 'teapot-damaged') return [['envelope', 'of Teapot KMS, damaged']];
  const { keyId, localKek } = envelope;
  const kek = localKek ? `${localKek.bytes} bytes wrapped, sha256:${localKek.sha256}` : 'none: the key itself seals';
  return [
    ['envelope', `of Teapot KMS, version 1, key ${keyId}`],
    ['local KEK', kek],
  ];
}

function verdictRows(keyset: Verdict | undefined): (readonly [string, string | undefined])[] {
  if (!keyset) return [];
  if (keyset.opens) return [['keyset', `${keyset.uri} opens it`]];
  const { uri, reason, code, remedy } = keyset;
  return [
    ['keyset', `${uri} does not open it: ${reason} (${code})`],
    ['Fix', remedy],
  ];
}
