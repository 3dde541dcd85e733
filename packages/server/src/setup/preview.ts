import { CONFIG_MAP, CONFIG_MAP_KEY } from './cluster-configuration.ts';
import { plan } from './plan.ts';
import type { Plan, PlanInput } from './plan-input.ts';
import { unifiedDiff } from './unified-diff.ts';
import { withoutSecrets } from './withheld.ts';

/** All steps that are left on this node, if each succeeds. The last one says how it ends. */
export function preview(input: PlanInput): Plan[] {
  const steps: Plan[] = [];
  for (let now = assumeQuiet(input); ;) {
    const next = plan(now);
    steps.push(next);
    // A step that changes nothing that is seen here waits for something.
    if (
      next.files.length === 0 &&
      next.clusterConfiguration === undefined &&
      !['keyset', 'plugin', 'read'].includes(next.step)
    )
      return steps;
    now = after(now, next);
  }
}

/** An undo looks at etcd and at the other nodes only when it comes to that. */
const assumeQuiet = (input: PlanInput): PlanInput =>
  input.wish.undo ? { ...input, needed: 0, others: input.others.map((other) => ({ ...other, writes: false })) } : input;

function after(input: PlanInput, { step, files, clusterConfiguration = input.clusterConfiguration }: Plan): PlanInput {
  const texts = new Map(input.files);
  for (const { path, after } of files) {
    if (after === undefined) texts.delete(path);
    else texts.set(path, after);
  }
  const used = input.others.find(({ keyIdHash }) => keyIdHash !== undefined)?.keyIdHash ?? 'new';
  const version = input.minor === 28 ? 'v2beta1' : 'v2';
  const plugin = step === 'plugin' ? { keyIdHash: used, version } : input.plugin;
  const keyIdHash = step === 'read' && 'keyIdHash' in plugin ? plugin.keyIdHash : undefined;
  const server = input.server && (['read', 'remove'].includes(step) ? { ...input.server, keyIdHash } : input.server);
  const hasKeyset = input.hasKeyset || step === 'keyset';
  return { ...input, files: texts, hasKeyset, plugin, server, clusterConfiguration };
}

/** What a step changes, as a unified diff. Keys of other providers are not shown. @param input - before the step */
export function diffOf({ files, clusterConfiguration }: Plan, before: string | undefined): string {
  const diffs = files.map(({ path, before, after }) => unifiedDiff(path, shown(before), shown(after)));
  if (clusterConfiguration !== undefined)
    diffs.push(unifiedDiff(`kube-system/${CONFIG_MAP}/${CONFIG_MAP_KEY}`, before, clusterConfiguration));
  return diffs.filter((diff) => diff !== '').join('\n');
}

const shown = (text: string | undefined): string | undefined =>
  text !== undefined && /kind["']?:\s*["']?EncryptionConfiguration/.test(text) ? withoutSecrets(text) : text;
