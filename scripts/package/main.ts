/**
 * Makes what is installed, into `dist`: `npm run package`, or `npm run package -- ARTIFACT...` with some of `bundle`,
 * `npm`, `tarball`, `deb` and `image`. The same commit gives the same bytes.
 */
import { createHash } from 'node:crypto';
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundledPackages, writeBundle } from './bundle.ts';
import { billOfMaterials, licenceList, nodeComponent, npmComponents } from './components.ts';
import { writeDeb } from './deb.ts';
import { makeImage } from './image/image.ts';
import { writeNpmPackages } from './npm-packages.ts';
import { pinnedNode } from './pinned-node.ts';
import { architecture, root, setModes, version } from './release.ts';
import { writeTarball } from './tarball.ts';
import { writeTree } from './tree.ts';

const ARTIFACTS = ['bundle', 'npm', 'tarball', 'deb', 'image'];
const wanted = process.argv.length > 2 ? process.argv.slice(2) : ARTIFACTS;
const unknown = wanted.filter((name) => !ARTIFACTS.includes(name));
if (unknown.length > 0) throw new Error(`unknown: ${unknown.join(', ')}; known: ${ARTIFACTS.join(', ')}`);

const dist = join(root, 'dist');
const scratch = mkdtempSync(join(tmpdir(), 'teapot-package-'));
try {
  rmSync(dist, { recursive: true, force: true });
  mkdirSync(dist, { recursive: true });
  if (wanted.includes('npm')) writeNpmPackages(join(scratch, 'npm'), join(dist, 'npm'));
  const bundle = join(dist, 'bundle');
  mkdirSync(bundle);
  const packages = npmComponents(bundledPackages(await writeBundle(bundle)));
  setModes(bundle);
  const node = pinnedNode();
  const components = [...packages, nodeComponent(node)];
  writeFileSync(join(dist, 'teapot-kms.cdx.json'), billOfMaterials(components));
  writeFileSync(join(dist, 'LICENSES'), licenceList(components));
  const content = { bundle, node, licences: licenceList(components), billOfMaterials: billOfMaterials(components) };
  if (wanted.includes('tarball')) {
    writeTree(join(scratch, 'tarball'), { prefix: '/usr/local', zsh: 'site-functions' }, content);
    writeTarball(join(scratch, 'tarball'), dist);
  }
  if (wanted.includes('deb')) {
    writeTree(join(scratch, 'deb/usr'), { prefix: '/usr', zsh: 'vendor-completions' }, content);
    writeDeb(join(scratch, 'deb'), dist);
  }
  if (wanted.includes('image')) {
    const file = join(dist, `teapot-kms-${version}-image-${architecture.debian}.tar`);
    console.log(await makeImage(join(scratch, 'image'), file, content), 'is the digest of the image');
  }
  const files = globSync(['*', 'npm/*'], { cwd: dist }).filter((name) => statSync(join(dist, name)).isFile());
  const sums = files.sort().map((name) => {
    const bytes = readFileSync(join(dist, name));
    console.log(`${(bytes.length / 1_048_576).toFixed(1).padStart(6)} MiB  dist/${name}`);
    return `${createHash('sha256').update(bytes).digest('hex')}  ${name}\n`;
  });
  writeFileSync(join(dist, 'SHA256SUMS'), sums.join(''));
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
