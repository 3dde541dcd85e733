// Three control-plane nodes, set up in any order, with kills: nobody writes what another cannot read, and nobody forgets what is needed.
import { fullRun } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { run } from '../../src/setup/run.ts';
import { SetupError } from '../../src/setup/setup-error.ts';
import type { Plan, Wish } from '../../src/setup/plan-input.ts';
import { Killed, ModelSite, undo, wish } from './support/model-site.ts';

const NODES = 3;
const RUNS = fullRun ? 60 : 4;

/** Numbers from 0 to below `limit`, the same for a seed. */
function numbers(seed: number): (limit: number) => number {
  let state = seed * 2_654_435_761 + 1;
  return (limit) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((state / 2_147_483_648) * limit);
  };
}

class ModelCluster {
  readonly sites: readonly ModelSite[];
  /** Whether an object is encrypted with the plugin. */
  needed = false;
  /** Positions with which an object could not be read everywhere. */
  readonly violations: string[] = [];

  constructor() {
    const kubeadm = { text: new ModelSite().kubeadm };
    this.sites = Array.from({ length: NODES }, (_, own) => {
      const site = new ModelSite();
      site.others = async () => {
        const others = this.sites.filter((_site, index) => index !== own);
        return Promise.all(others.map(async (one) => ({ ...(await one.server()), name: this.nameOf(one) })));
      };
      site.writes = (name) => Promise.resolve(this.named(name ?? this.nameOf(site)).position === 'writes');
      site.needed = () => Promise.resolve(this.needed ? 1 : 0);
      site.clusterConfiguration = () => Promise.resolve(kubeadm.text);
      site.setClusterConfiguration = (text) => site.change(() => (kubeadm.text = text));
      site.meanwhile = () => this.check();
      return site;
    });
  }

  nameOf = (site: ModelSite): string => `node-${this.sites.indexOf(site)}`;
  named = (name: string): ModelSite => this.sites.find((site) => this.nameOf(site) === name)!;

  /** What runs may take an error for one of kube-apiserver, so it is remembered. */
  check(): void {
    const positions = this.sites.map(({ position }) => position);
    this.needed ||= positions.includes('writes');
    if (this.needed && positions.includes('absent')) this.violations.push(positions.join());
  }

  rewrite(): void {
    this.needed = this.sites.some(({ position }) => position === 'writes');
  }
}

/** Runs the command on nodes until all are done; some runs are killed, or fail and are rolled back. */
async function reach(cluster: ModelCluster, wanted: Wish, random: (limit: number) => number): Promise<void> {
  const ends = new Map<ModelSite, Plan['step']>();
  for (let runs = 0; [...ends.values()].filter((step) => step === 'done').length < NODES; runs++) {
    assert.ok(runs < 100, `no end: ${[...ends.values()].join()}`);
    const site = cluster.sites[random(NODES)]!;
    if (random(3) === 0)
      site.death = { change: site.changes + 1 + random(8), when: random(2) === 0 ? 'before' : 'after' };
    const broken = random(6) === 0 ? (['reads', 'writes'] as const)[random(2)] : undefined;
    const before = site.position;
    // A kube-apiserver that is broken from the start is not touched.
    site.broken = (position) => position === broken && position !== before;
    try {
      ends.set(site, (await run(site, { ...wanted, imports: true }, 1_000)).step);
    } catch (error) {
      if (!(error instanceof Killed) && !(error instanceof SetupError)) throw error;
    }
    site.death = undefined;
    site.broken = () => false;
    if (wanted.undo && random(2) === 0) cluster.rewrite();
    cluster.check();
    assert.equal(cluster.violations, []);
  }
}

for (let seed = 1; seed <= RUNS; seed++) {
  test(`three nodes encrypt and go back, seed ${seed}`, async () => {
    const [cluster, random] = [new ModelCluster(), numbers(seed)];
    await reach(cluster, wish, random);
    assert.equal(
      cluster.sites.map(({ position }) => position),
      ['writes', 'writes', 'writes'],
    );
    await reach(cluster, undo, random);
    assert.equal(
      cluster.sites.map(({ position }) => position),
      ['absent', 'absent', 'absent'],
    );
  });
}

test.run();
