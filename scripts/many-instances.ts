import { runManyInstances } from '@teapot-kms/e2e';
/**
 * `npm run instances [-- COUNT]`: one plugin process with 500 instances, each with a Secret of its own in a real
 * kube-apiserver. Prints how long it takes to start, what it holds, and whether every instance answers.
 */

await runManyInstances(Number(process.argv[2] ?? 500));
