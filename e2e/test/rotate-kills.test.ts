// Rotations of a cluster of three kube-apiservers, each with its plugin, under load, while all of them and the command itself are killed.
import { figure, fullRun } from '@teapot-kms/testing';
import { launcher } from '@teapot-kms/testing/daemons';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { DEFAULT_KUBERNETES, findBinaries, registerUnlessMissing } from '../src/binaries.ts';
import { ControlPlane } from '../src/control-plane.ts';
import { NodeLoad } from '../src/node-load.ts';
import { etcdPrefix, SECRETS } from '../src/objects.ts';
import { runTeapot } from '../src/run-teapot.ts';
import type { RunningCommand } from '../src/run-teapot.ts';
import { parseStored } from '../src/stored-object.ts';
import { teapot } from '../src/teapot-cli.ts';

const NODES = ['node-1', 'node-2', 'node-3'];
/** Rotations under kills. Each takes six minutes and more: the old seed lives for three. */
const ROTATIONS = 2;
/** A kube-apiserver that starts again begins its three minutes anew, so that no rotation would end if one did so all the time. */
const APISERVER_KILLS = 3;
const random = (max: number): number => Math.floor(Math.random() * max);

/** The command as an operator would run it: reports by a command for each host, copies by `cp`, keys first and the manifest last. */
function rotateOptions({ nodes, etcd, directory }: ControlPlane, kubeconfig: string): string[] {
  const [first, ...others] = nodes;
  const copies = others.map(
    ({ keyset }) =>
      `cp -p ${first!.keyset}/*.key ${keyset}/ && cp -p ${first!.keyset}/keyset.yaml ${keyset}/.new && mv ${keyset}/.new ${keyset}/keyset.yaml`,
  );
  return [
    'rotate',
    ...['--config', first!.plugin.configFile, '--older-than', '0s', '--wait', '10m'],
    ...['--replicas', String(nodes.length), '--host', ...nodes.map(({ name }) => name)],
    '--fetch',
    `${launcher()} status --report --config ${directory}/{host}/teapot-kms.yaml --nonce {nonce}`,
    ...['--distribute', copies.join(' && ')],
    ...['--kubeconfig', kubeconfig, '--apiserver', ...nodes.map(({ apiserver }) => apiserver.url)],
    ...['--etcd-servers', etcd.url, '--scan-rate', 'unlimited', '--rewrite-rate', '50'],
  ];
}

/** Kills something every few seconds. */
class Killer {
  readonly kills = { plugin: 0, apiserver: 0, command: 0 };
  command: RunningCommand | undefined;
  readonly #done: Promise<void>;
  #stopping = false;

  constructor(controlPlane: ControlPlane) {
    this.#done = this.#run(controlPlane);
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#done;
  }

  async #run(controlPlane: ControlPlane): Promise<void> {
    while (!this.#stopping) {
      await sleep(2_000 + random(8_000));
      const node = controlPlane.nodes[random(NODES.length)]!;
      const what = random(10);
      if (what === 0 && this.kills.apiserver < APISERVER_KILLS) {
        this.kills.apiserver++;
        await controlPlane.restartApiserver(node);
      } else if (what < 3) {
        this.kills.command++;
        this.command?.kill();
      } else {
        this.kills.plugin++;
        await controlPlane.restartPlugin(node);
      }
    }
  }
}

function register(): void {
  const test = suite<{ controlPlane: ControlPlane }>('rotations under load and kills');
  let failed = true;
  test.before(async (context) => {
    context.controlPlane = await ControlPlane.start(DEFAULT_KUBERNETES, NODES);
  });
  test.after(({ controlPlane }) => controlPlane.close(failed));

  test('nothing fails that a restart does not cause, nothing is lost, and nothing is left under an old key', async ({
    controlPlane,
  }) => {
    const { nodes, etcd } = controlPlane;
    const options = rotateOptions(controlPlane, controlPlane.kubeconfig());
    const loads = nodes.map((node) => new NodeLoad(node));
    const killer = new Killer(controlPlane);
    let [rotations, runs] = [0, 0];
    while (rotations < ROTATIONS) {
      killer.command = runTeapot(options);
      runs++;
      const { code, stderr } = await killer.command.result;
      if (code === 0) rotations++;
      else assert.ok(code === null || code === 1 || code === 3, `exit code ${code}\n${stderr}`);
    }
    await killer.stop();
    // What was begun is brought to its end in peace.
    const last = await runTeapot(options).result;
    assert.is(last.code, 0, last.stderr);
    await Promise.all(loads.map((load) => load.stop()));

    const failures = loads.flatMap((load) => load.failures);
    assert.equal(failures, []);
    for (const load of loads) await load.verify(nodes.map(({ apiserver }) => apiserver.client));
    const stored = await etcd.list(etcdPrefix(SECRETS));
    const keys = new Set(stored.map(({ value }) => (parseStored(value) as { keyId?: string }).keyId));
    const uri = `file:${nodes[0]!.keyset}`;
    const { primary } = JSON.parse(await teapot(['keys', 'list', '--uri', uri, '--output', 'json'])) as {
      primary: string;
    };
    assert.equal([...keys], [primary]);
    const sum = (pick: (load: NodeLoad) => number): number => loads.reduce((total, load) => total + pick(load), 0);
    const { plugin, apiserver, command } = killer.kills;
    figure(
      'rotations under load',
      `${rotations + 1} rotations in ${runs + 1} runs; killed: ${plugin} plugins, ${apiserver} kube-apiservers, ${command} times the command; ` +
        `${sum((load) => load.writes)} writes, ${sum((load) => load.lists)} lists, ${sum((load) => load.events)} events; ` +
        `${sum((load) => load.duringRestarts)} requests failed while their kube-apiserver was restarted, 0 others; ${stored.length} objects, all under the last key`,
    );
    failed = false;
  });

  test.run();
}

registerUnlessMissing('rotations under load and kills', () => {
  findBinaries(DEFAULT_KUBERNETES);
  if (fullRun) register();
  else
    console.log(
      'rotations under load and kills: only with TEAPOT_TEST_FULL=1, as it takes minutes: e2e/test/rotate.test.ts runs one',
    );
});
