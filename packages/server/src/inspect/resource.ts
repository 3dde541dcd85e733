/**
 * Resources that lie under another name than their own (k8s.io/kubernetes pkg/kubeapiserver/default_storage_factory_builder.go,
 * `SpecialDefaultResourcePrefixes`).
 */
const RENAMED: Readonly<Record<string, string>> = {
  'services/specs': 'services',
  'services/endpoints': 'endpoints',
  minions: 'nodes',
  controllers: 'replicationcontrollers',
  ingress: 'ingresses',
};

/**
 * Returns the resource of a key: `secrets` of `/registry/secrets/default/one`, `widgets.example.com` of
 * `/registry/example.com/widgets/default/one`.
 * @param root - kube-apiserver's `--etcd-prefix` with a slash at its end
 */
export function resourceOf(key: string, root: string): string {
  const [first = '', second, third] = key.slice(root.length).split('/', 3);
  if (second === undefined) return first;
  // A custom resource lies under its group, and only a group has a dot. An object of a resource without namespaces has no third part.
  if (first.includes('.') && third !== undefined) return `${second}.${first}`;
  return RENAMED[`${first}/${second}`] ?? RENAMED[first] ?? first;
}

/**
 * Returns where the objects of a resource may lie: the opposite of {@link resourceOf}. A resource of a group with a dot is a custom resource or one
 * of Kubernetes' own, and its name does not tell which.
 * @param resource - as in an EncryptionConfiguration: `secrets`, `deployments.apps`, `widgets.example.com`; with an asterisk, all that it may mean
 * @returns prefixes of keys in etcd
 */
export function prefixesOf(resource: string, root: string): string[] {
  if (resource.includes('*')) return [root];
  const [name, group] = [resource.split('.', 1)[0]!, resource.slice(resource.indexOf('.') + 1)];
  const renamed = Object.entries(RENAMED).flatMap(([path, known]) => (known === name ? [`${root}${path}/`] : []));
  const custom = group.includes('.') ? [`${root}${group}/${name}/`] : [];
  return [`${root}${name}/`, ...renamed, ...custom];
}
