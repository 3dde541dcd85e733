/**
 * `npm run instances [-- COUNT]`: one plugin process with 500 instances, each with a Secret of its own in a real
 * kube-apiserver. Prints how long it takes to start, what it holds, and whether every instance answers.
 */
import { runManyInstances } from '../k8s/e2e/src/many-instances.ts';

await runManyInstances(Number(process.argv[2] ?? 500));
