// inspect and scan against a real etcd, without a kube-apiserver: its values are written by this test.
import { EnvelopeKey, SecretBytes } from '@teapot-kms/core';
import { integerField } from '@teapot-kms/core/protobuf';
import { keyIdHash } from '@teapot-kms/server';
import { message, newDirectory, until } from '@teapot-kms/testing';
import { Daemon, freePort, launcher } from '@teapot-kms/testing/daemons';
import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { findEtcd, registerUnlessMissing } from '../src/binaries.ts';
import { Etcd } from '../src/etcd.ts';
import type { KeyValue } from '../src/etcd.ts';

interface Report {
  readonly source: Record<string, unknown>;
  readonly startedAt: string;
  readonly finishedAt: string;
  readonly firstRevision: number;
  readonly lastRevision: number;
  readonly objects: number;
  readonly bytes: number;
  readonly rows: readonly Row[];
}
type Row = Readonly<Record<string, string | number>>;

const OBJECTS = 1_000;
const directory = newDirectory();

function run(...args: string[]): { code: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(launcher(), args, { encoding: 'utf8' });
  return { code: status, stdout, stderr };
}

function scan(...args: string[]): Report {
  const { code, stdout, stderr } = run('scan', '--output', 'json', '--rate', 'unlimited', ...args);
  assert.is(code, 0, stderr);
  return JSON.parse(stdout) as Report;
}

/** As kube-apiserver stores it. */
function stored(keyId: string): Buffer {
  const key = new EnvelopeKey({ key: new SecretBytes(randomBytes(32)), keyId, contextId: Buffer.alloc(16) });
  const object = message([1, randomBytes(200)], [2, keyId], [3, key.seal(randomBytes(32))]);
  key.destroy();
  return Buffer.concat([Buffer.from('k8s:enc:kms:v2:teapot-main:'), object, integerField(5, 1)]);
}

const objects = (path: string, value: () => Buffer): KeyValue[] =>
  Array.from({ length: OBJECTS }, (_, n) => ({ key: `/registry/${path}-${n}`, value: value() }));

function register(programs: ReturnType<typeof findEtcd>): void {
  const test = suite<{ etcd: Etcd; servers: readonly [string, string] }>('inspect and scan on a real etcd');
  test.before(async (context) => {
    context.etcd = await Etcd.start(programs, directory);
    context.servers = ['--etcd-servers', context.etcd.url];
    await context.etcd.putAll([
      ...objects('secrets/default/old', () => stored('old')),
      ...objects('secrets/default/fresh', () => stored('fresh')),
      ...objects('configmaps/default/plain', () => Buffer.from('k8s\0 a ConfigMap')),
      ...objects('example.com/widgets/default/w', () => Buffer.from('k8s:enc:secretbox:v1:key1:xyz')),
      { key: 'compact_rev_key', value: Buffer.from('1') },
    ]);
    // Some are written again, and some are gone: a snapshot has their old revisions too.
    await context.etcd.putAll(objects('secrets/default/old', () => stored('fresh')).slice(0, 400));
    for (const n of [997, 998, 999]) await context.etcd.delete(`/registry/secrets/default/old-${n}`);
  });
  test.after(({ etcd }) => etcd.stop());

  test('a scan counts every object once, by resource, provider and key', ({ servers }) => {
    const report = scan(...servers, '--page-size', '77');
    const counts = report.rows.map((row) => [
      row['resource'],
      row['provider'],
      row['name'],
      row['keyId'],
      row['objects'],
    ]);
    assert.equal(counts, [
      ['configmaps', 'identity', undefined, undefined, OBJECTS],
      ['secrets', 'kms:v2', 'teapot-main', 'fresh', OBJECTS + 400],
      ['secrets', 'kms:v2', 'teapot-main', 'old', OBJECTS - 403],
      ['widgets.example.com', 'secretbox', 'key1', undefined, OBJECTS],
    ]);
    assert.is(report.rows[1]!['keyIdHash'], keyIdHash('fresh'));
    assert.is(report.objects, 4 * OBJECTS - 3);
    assert.is(report.firstRevision, report.lastRevision);
    assert.match(String(report.source['clusterId']), /^[0-9a-f]+$/);
  });

  test('a snapshot has the same rows, and its checksum is right', ({ etcd, servers }) => {
    const file = join(directory, 'snapshot.db');
    etcd.saveSnapshot(programs.etcdctl, file);
    const [live, saved] = [scan(...servers), scan('--snapshot', file)];
    const comparable = (report: Report) => report.rows.map(({ example, ...row }) => (assert.ok(example), row));
    assert.equal(comparable(saved), comparable(live));
    assert.equal([saved.source['type'], saved.source['verified']], ['snapshot', true]);
    assert.is(saved.lastRevision, live.lastRevision);
  });

  test('the database of a stopped etcd can be scanned', async () => {
    const home = newDirectory();
    const other = await Etcd.start(programs, home);
    await other.putAll(objects('secrets/default/s', () => stored('fresh')));
    await other.compact(5);
    // Makes etcd write what it has in memory.
    // It commits what is not on the disk yet.
    other.saveSnapshot(programs.etcdctl, join(home, 'saved.db'));
    await other.stop();
    const report = scan('--snapshot', join(home, 'etcd/member/snap/db'));
    assert.equal([report.objects, report.source['verified']], [OBJECTS, false]);
  });

  test('--only reads a part, and --report leaves evidence that others cannot read', ({ servers }) => {
    const file = join(directory, 'scan.json');
    const report = scan(...servers, '--only', 'secrets/', '--report', file);
    assert.is(report.objects, 2 * OBJECTS - 3);
    assert.equal(JSON.parse(readFileSync(file, 'utf8')), report);
    assert.is(statSync(file).mode & 0o777, 0o600);
  });

  test('"keys retire" takes the report of this etcd as evidence, and refuses that of its snapshot', async ({
    etcd,
    servers,
  }) => {
    const uri = `file:${join(directory, 'keys')}`;
    const generate = (): string => {
      const { stdout } = run('keys', 'generate', '--uri', uri, '--yes', '--output', 'json');
      return (JSON.parse(stdout) as { generated: string }).generated;
    };
    const [old, primary] = [generate(), generate()];
    assert.is(run('keys', 'promote', '--uri', uri, primary, '--unverified').code, 0);
    const manifest = join(directory, 'keys/keyset.yaml');
    const longAgo = readFileSync(manifest, 'utf8').replaceAll(/since: .*/g, 'since: 2026-01-01T00:00:00.000Z');
    writeFileSync(manifest, longAgo);
    const [live, saved, snapshot] = ['live.json', 'saved.json', 'evidence.db'].map((name) => join(directory, name));
    await etcd.put('/registry/secrets/default/own', stored(primary));
    scan(...servers, '--report', live!);
    etcd.saveSnapshot(programs.etcdctl, snapshot!);
    scan('--snapshot', snapshot!, '--report', saved!);
    await etcd.delete('/registry/secrets/default/own');
    const retire = (file: string) => run('keys', 'retire', '--uri', uri, old, '--scan', file);
    const refused = retire(saved!);
    assert.is(refused.code, 1);
    assert.match(refused.stderr, 'saved.json: the scan is one of a snapshot, which shows the past');
    const { code, stderr } = retire(live!);
    assert.is(code, 0, stderr);
  });

  test('the table names each key', ({ servers }) => {
    const { code, stdout } = run('scan', ...servers);
    assert.is(code, 0);
    assert.match(stdout, /^secrets +kms:v2 +teapot-main +fresh +1400 +\d+ +\d+$/m);
  });

  test('an object that nobody can decrypt: exit code 3, and where it is', async ({ etcd, servers }) => {
    await etcd.put('/registry/secrets/default/broken', Buffer.from('k8s:enc:kms:v2:teapot-main:?'));
    const { code, stdout } = run('scan', ...servers);
    await etcd.delete('/registry/secrets/default/broken');
    assert.is(code, 3);
    assert.match(
      stdout,
      'PROBLEM  1 objects, the first is /registry/secrets/default/broken: kms:v2:teapot-main: no EncryptedObject',
    );
  });

  test('inspect reads one key', ({ servers }) => {
    const { code, stdout } = run(
      'inspect',
      '--etcd',
      '/registry/secrets/default/fresh-1',
      ...servers,
      '--output',
      'json',
    );
    assert.is(code, 0);
    const { keyId, envelope } = JSON.parse(stdout) as { keyId: string; envelope: unknown };
    assert.equal([keyId, envelope], ['fresh', { format: 'teapot-v1', keyId: 'fresh' }]);
    const missing = run('inspect', '--etcd', '/registry/secrets/default/nowhere', ...servers);
    assert.is(missing.code, 2);
    assert.match(missing.stderr, 'etcd has no key "/registry/secrets/default/nowhere"');
  });

  test('a scan writes nothing', ({ servers }) => {
    assert.is(scan(...servers).lastRevision, scan(...servers).lastRevision);
  });

  test('TLS: with the right CA and a client certificate only', async () => {
    const tls = makeCertificates();
    const url = `https://127.0.0.1:${await freePort()}`;
    const peer = `http://127.0.0.1:${await freePort()}`;
    const args = ['--name', 'tls', '--data-dir', join(directory, 'tls'), '--log-level', 'error', '--client-cert-auth'];
    args.push('--listen-client-urls', url, '--advertise-client-urls', url, '--listen-peer-urls', peer);
    args.push('--initial-advertise-peer-urls', peer, '--initial-cluster', `tls=${peer}`);
    args.push('--trusted-ca-file', tls('ca.pem'), '--cert-file', tls('server.pem'), '--key-file', tls('server.key'));
    const daemon = new Daemon({ name: 'etcd', command: programs.etcd, args, logFile: join(directory, 'tls.log') });
    try {
      const servers = ['--etcd-servers', url];
      const ca = ['--etcd-cafile', tls('ca.pem')];
      const client = ['--etcd-certfile', tls('client.pem'), '--etcd-keyfile', tls('client.key')];
      await until('etcd answers', () => (daemon.checkRunning(), run('scan', ...servers, ...ca, ...client).code === 0));
      assert.is(scan(...servers, ...ca, ...client).objects, 0);
      const stranger = run('scan', ...servers, ...client);
      assert.is(stranger.code, 1);
      assert.match(stranger.stderr, 'ERR_KMS_ETCD_UNAVAILABLE');
      assert.match(stranger.stderr, 'Fix: check that etcd answers at');
      assert.is(run('scan', ...servers, ...ca).code, 1, 'no client certificate');
    } finally {
      await daemon.kill();
    }
  });

  test.run();
}

/** A CA, and certificates of a server and a client. Returns where a file is. */
function makeCertificates(): (name: string) => string {
  const home = newDirectory();
  const openssl = (...args: string[]): void => void execFileSync('openssl', args, { cwd: home, stdio: 'pipe' });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout'];
  openssl('req', '-x509', '-subj', '/CN=ca', ...key, 'ca.key', '-out', 'ca.pem');
  writeFileSync(join(home, 'ext'), 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n');
  for (const name of ['server', 'client']) {
    openssl('req', '-subj', `/CN=${name}`, ...key, `${name}.key`, '-out', `${name}.csr`);
    const sign = ['x509', '-req', '-in', `${name}.csr`, '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial'];
    openssl(...sign, '-extfile', 'ext', '-out', `${name}.pem`);
  }
  return (name) => {
    const path = join(home, name);
    if (!existsSync(path)) throw new Error(`${path} is missing`);
    return path;
  };
}

registerUnlessMissing('inspect and scan on a real etcd', () => {
  register(findEtcd());
});
