import { CONFIG_FLAG } from './encryption-access.ts';
import { planEncryption } from './plan-encryption.ts';
import type { Plan, PlanInput } from './plan-input.ts';
import { blocked, namedConfiguration } from './plan-parts.ts';
import { planUndo } from './plan-undo.ts';

/** Returns the next step. It has no memory: after an interruption, it is called again with what is there then. */
export function plan(input: PlanInput): Plan {
  const { wish, server, files } = input;
  if (server && server.startedAt === undefined) {
    const remedy = server.remedy ?? 'repair it first: setup starts from a cluster that works';
    return blocked(`kube-apiserver ${server.name} does not answer, or is not ready: ${server.problem}`, remedy);
  }
  const named = namedConfiguration(input);
  if (named !== undefined && !files.has(named))
    return blocked(`${named} is missing, and --${CONFIG_FLAG} names it`, 'restore it');
  return wish.undo ? planUndo(input) : planEncryption(input);
}
