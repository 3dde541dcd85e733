import { createProgram } from '@teapot-kms/server/internal/commands';
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { manualPage } from './manual.ts';
import type { PinnedNode } from './pinned-node.ts';
import { root, run } from './release.ts';

export interface Prefix {
  /** Where the tree will be: `/usr`, `/usr/local`. */
  readonly prefix: string;
  /** Where zsh looks below `share/zsh`. */
  readonly zsh: 'vendor-completions' | 'site-functions';
}

interface Content {
  /** What `writeBundle` has written. */
  readonly bundle: string;
  readonly node: PinnedNode;
  readonly licences: string;
  readonly billOfMaterials: string;
}

/** Writes what is installed below a prefix, apart from the configuration, to `directory`. */
export function writeTree(directory: string, { prefix, zsh }: Prefix, content: Content): void {
  const put = (path: string, text: string | Buffer): void => {
    mkdirSync(join(directory, dirname(path)), { recursive: true });
    writeFileSync(join(directory, path), text);
  };
  const read = (path: string): string => readFileSync(join(root, path), 'utf8');

  cpSync(content.bundle, join(directory, 'lib/teapot-kms'), { recursive: true });
  cpSync(content.node.binary, join(directory, 'lib/teapot-kms/bin/node'));
  mkdirSync(join(directory, 'bin'));
  symlinkSync('../lib/teapot-kms/bin/teapot-kms', join(directory, 'bin/teapot-kms'));

  const unit = read('k8s/systemd/teapot-kms.service').replaceAll('/usr/bin/', `${prefix}/bin/`);
  put('lib/systemd/system/teapot-kms.service', unit);
  put('lib/sysusers.d/teapot-kms.conf', read('k8s/systemd/teapot-kms.sysusers.conf'));
  put('lib/tmpfiles.d/teapot-kms.conf', read('k8s/systemd/teapot-kms.tmpfiles.conf'));

  const completion = (shell: string): string =>
    run(process.execPath, [join(content.bundle, 'dist/cli/main.js'), 'completion', shell]);
  put('share/bash-completion/completions/teapot-kms', completion('bash'));
  put(`share/zsh/${zsh}/_teapot-kms`, completion('zsh'));
  put('share/fish/vendor_completions.d/teapot-kms.fish', completion('fish'));
  put('share/man/man1/teapot-kms.1.gz', gzipSync(manualPage(createProgram()), { level: 9 }));

  const documents = 'share/doc/teapot-kms';
  put(
    `${documents}/copyright`,
    `Teapot KMS is under the licence that follows. LICENSES.gz has all others.\n\n${read('LICENSE')}`,
  );
  put(`${documents}/LICENSES.gz`, gzipSync(content.licences, { level: 9 }));
  put(`${documents}/teapot-kms.cdx.json`, content.billOfMaterials);
  put(`${documents}/examples/config.yaml`, read('k8s/systemd/config.yaml'));
}
