/** Before 1.29, KMS v2 was beta: one data key where later versions have a seed, and only the version `v2beta1`. */
export function isKmsV2Beta(kubernetes: string): boolean {
  return minorOf(kubernetes) < 29;
}

/** What an instance needs for this kube-apiserver. Up to 1.28 it sends the socket's path as `:authority`, which `grpc-js` rejects. */
export function instanceSettings(kubernetes: string): Readonly<Record<string, unknown>> {
  return isKmsV2Beta(kubernetes) ? { kmsV2Version: 'v2beta1', transport: 'h2' } : {};
}

function minorOf(kubernetes: string): number {
  return Number(kubernetes.split('.')[1]);
}
