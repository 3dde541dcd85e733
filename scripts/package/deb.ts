import { chmodSync, cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { architecture, root, run, setModes, version } from './release.ts';

/** What Node and the binding link against, as `dpkg-shlibdeps` would say on Debian 12, and what the scripts run. */
const DEPENDS = [
  'libc6 (>= 2.34)',
  'libstdc++6 (>= 12)',
  'libgcc-s1',
  'libatomic1',
  'systemd | systemd-standalone-sysusers',
];

const SCRIPTS = ['postinst', 'prerm', 'postrm'];

/**
 * Makes a Debian package.
 * @param staging - an empty directory, in which the caller has put what is installed below `usr`
 */
export function writeDeb(staging: string, directory: string): string {
  mkdirSync(join(staging, 'etc/teapot-kms'), { recursive: true });
  cpSync(join(root, 'k8s/systemd/config.yaml'), join(staging, 'etc/teapot-kms/config.yaml'));
  const kb = Number(run('du', ['-sk', '--apparent-size', staging]).split('\t')[0]);
  mkdirSync(join(staging, 'DEBIAN'));
  setModes(staging);
  const control = (name: string, text: string, mode = 0o644): void => {
    writeFileSync(join(staging, 'DEBIAN', name), text);
    chmodSync(join(staging, 'DEBIAN', name), mode);
  };
  control('control', controlFile(kb));
  control('conffiles', '/etc/teapot-kms/config.yaml\n');
  control('md5sums', run('sh', ['-c', 'find usr etc -type f -print0 | sort -z | xargs -0 md5sum'], { cwd: staging }));
  for (const name of SCRIPTS) control(name, readFileSync(join(import.meta.dirname, 'deb', name), 'utf8'), 0o755);
  const file = join(directory, `teapot-kms_${version}_${architecture.debian}.deb`);
  // One thread, because the bytes depend on how many there are.
  run('dpkg-deb', ['--build', '--root-owner-group', '-Zxz', '--threads-max=1', staging, file]);
  return file;
}

function controlFile(installedKb: number): string {
  return `Package: teapot-kms
Version: ${version}
Architecture: ${architecture.debian}
Maintainer: The Teapot KMS authors <teapot-kms@localhost>
Installed-Size: ${installedKb}
Depends: ${DEPENDS.join(', ')}
Section: admin
Priority: optional
Description: Kubernetes KMS plugin: encrypts the Secrets in etcd with a key that is not in etcd
 The key is in an HSM or TPM, in OpenStack Barbican, in a Secret of another
 cluster, or on the host. The package contains its own Node.
`;
}
