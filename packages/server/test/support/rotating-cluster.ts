import { checkHeldByAll, generateKey, promoteKey, retireKey } from '@teapot-kms/core';
import type { KeysetAdmin, StoredManifest } from '@teapot-kms/core';
import { makeReport, parseManifest } from '@teapot-kms/core/internal';
import { FakeClock, FakeKeysetStore } from '@teapot-kms/testing';
import type { ScanReport } from '../../src/inspect/scan-report.ts';
import { keyIdHash } from '../../src/kms/key-id-hash.ts';
import type { RotationSteps } from '../../src/rotate/perform.ts';
import type { PlanInput, ServerView } from '../../src/rotate/plan.ts';
import { checkUnneeded } from '../../src/rotate/scan-evidence.ts';
import { rowOf, scanOf } from './scans.ts';

/** The command was killed here. */
export class Killed extends Error {
  override readonly name = 'Killed';
}

const DAY_MS = 24 * 3_600_000;
/** How long a kube-apiserver takes to see another key id. */
const POLL_MS = 20_000;
const NODES = ['node-1', 'node-2'];

/** A node: a replica with its copy of the keyset, and the kube-apiserver that it serves. */
interface Node {
  readonly name: string;
  manifest: StoredManifest;
  /** When its kube-apiserver began to use the primary, in ms. */
  switchedAt: number;
}

/** A keyset, two nodes and Secrets. The command that works on them can be killed before, in and after everything that it does. */
export class RotatingCluster {
  readonly clock = new FakeClock();
  readonly store = new FakeKeysetStore();
  readonly nodes: Node[] = [];
  /** The key of each Secret. */
  readonly objects = new Map<string, string>();
  /** How often each was written again. */
  readonly writes = new Map<string, number>();
  readonly done: string[] = [];
  /** Points that were passed. */
  points = 0;
  /** The point at which the command is killed. */
  killAt = Infinity;
  /** Copies nothing: a person does. */
  manual = false;

  async start(): Promise<void> {
    await generateKey(this.store, { clock: this.clock });
    const manifest = await this.manifest();
    this.nodes.push(...NODES.map((name) => ({ name, manifest, switchedAt: this.clock.now() })));
    for (const name of ['a', 'b', 'c']) this.objects.set(name, manifest.primary);
    await this.clock.advance(100 * DAY_MS);
  }

  async manifest(): Promise<StoredManifest> {
    return (await this.store.readManifest())!.manifest;
  }

  /** Copies the keyset to a node. */
  async copyTo(node: Node): Promise<void> {
    const manifest = parseManifest(this.store.manifestText!, 'copy');
    if (manifest.primary !== node.manifest.primary) node.switchedAt = this.clock.now() + POLL_MS;
    node.manifest = manifest;
    await Promise.resolve();
  }

  /** What the command does, with points at which it may be killed. */
  get steps(): RotationSteps {
    const { clock } = this;
    const { store } = this;
    const admin: KeysetAdmin = {
      readManifest: () => store.readManifest(),
      createKey: (...args) => store.createKey(...args),
      destroyKey: (keyId) => store.destroyKey(keyId),
      writeManifest: (...args) => this.#point(() => store.writeManifest(...args)),
    };
    return {
      look: (scan) => this.#look(scan),
      distribute: () =>
        this.#point(async () => {
          if (this.manual) return;
          for (const node of this.nodes) await this.#point(() => this.copyTo(node));
        }),
      generate: () => this.#change('generate', () => generateKey(admin, { clock })),
      promote: (keyId) =>
        this.#change(`promote`, async () => {
          const { proofs, replicas, now } = await this.#look(undefined);
          const check = (manifest: StoredManifest) =>
            checkHeldByAll(manifest, keyId, proofs.get(keyId)!, { ...replicas, now });
          return promoteKey(admin, keyId, { clock, check });
        }),
      scan: () => this.#point(() => Promise.resolve(this.#scan())),
      rewrite: (resources) => this.#point(() => this.#rewrite(resources)),
      retire: (keyId, scan) =>
        this.#change('retire', () => {
          const scans = { ...scansOf(scan), now: new Date(clock.wall()) };
          return retireKey(admin, keyId, { clock, check: (manifest) => checkUnneeded(manifest, keyId, scans) });
        }),
    };
  }

  async #look(scan: ScanReport | undefined): Promise<PlanInput> {
    const now = new Date(this.clock.wall());
    const { proofs } = await this.store.load({ signal: AbortSignal.timeout(10_000) });
    const reports = this.nodes.map(({ name, manifest }, index) => {
      const { contextId, generation, hash } = manifest;
      const identity = { replica: String(index).repeat(16), host: name, time: now.toISOString() };
      return makeReport({ ...identity, nonce: '00'.repeat(16), contextId, generation, hash, reads: [1, 2] }, proofs);
    });
    return {
      manifest: await this.manifest(),
      proofs,
      replicas: { reports, replicas: this.nodes.length },
      servers: this.nodes.map((node) => this.#view(node)),
      scans: scan && scansOf(scan),
      renewAfterMs: 90 * DAY_MS,
      now,
    };
  }

  #view({ name, manifest, switchedAt }: Node): ServerView {
    const forMs = this.clock.now() - switchedAt;
    return forMs < 0
      ? { server: name, keyIdHash: keyIdHash('an older key'), forMs: DAY_MS, since: 0 }
      : { server: name, keyIdHash: keyIdHash(manifest.primary), forMs, since: switchedAt };
  }

  #scan(): ScanReport {
    const keys = [...new Set(this.objects.values())];
    const count = (keyId: string) => [...this.objects.values()].filter((one) => one === keyId).length;
    const startedAt = new Date(this.clock.wall()).toISOString();
    return scanOf(
      keys.map((keyId) => rowOf(keyId, { objects: count(keyId) })),
      { startedAt },
    );
  }

  async #rewrite(resources: readonly string[]): Promise<void> {
    if (resources.join() !== 'secrets') throw new Error(`unexpected: ${resources.join()}`);
    const [{ manifest }] = this.nodes as [Node];
    for (const [name, keyId] of this.objects) {
      await this.#point(() => {
        // As kube-apiserver: an update that changes nothing is written only if the key is an older one.
        if (keyId === manifest.primary) return Promise.resolve();
        this.objects.set(name, manifest.primary);
        this.writes.set(name, (this.writes.get(name) ?? 0) + 1);
        return Promise.resolve();
      });
    }
  }

  async #change(name: string, work: () => Promise<unknown>): Promise<void> {
    await this.#point(async () => {
      await work();
      this.done.push(name);
    });
  }

  /** Two points at which the command may be killed: before and after `work`. */
  async #point<T>(work: () => Promise<T>): Promise<T> {
    if (this.points++ === this.killAt) throw new Killed();
    const result = await work();
    if (this.points++ === this.killAt) throw new Killed();
    return result;
  }
}

const scansOf = (report: ScanReport) => ({ scans: [{ where: 'the scan of this run', report, ordered: true }] });
