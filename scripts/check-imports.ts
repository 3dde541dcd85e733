/**
 * Checks the import graph: no import bypasses a package's exports, nothing that ships imports a private package, and the packages'
 * sources form no cycle. Tests count as users of the packages, not as part of them.
 *
 * usage: check-imports.ts
 */
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

const root = join(import.meta.dirname, '..');
const SCOPE = '@teapot-kms/';
const roomOf = (file: string): string => /^(?:packages\/)?[^/]+/.exec(relative(root, file))![0];

const problems: string[] = [];
const edges = new Map<string, Set<string>>();
const files = globSync(
  ['packages/*/{src,test,integration}/**/*.ts', 'e2e/{src,test}/**/*.ts', 'docs/test/*.ts', 'scripts/*.ts'],
  {
    cwd: root,
  },
);
for (const name of files) {
  const file = join(root, name);
  const from = roomOf(file);
  for (const [, specifier] of readFileSync(file, 'utf8').matchAll(/\b(?:from|import\()\s*'([^']+)'/g)) {
    if (specifier!.startsWith('.')) {
      const to = roomOf(join(dirname(file), specifier!));
      if (to !== from)
        problems.push(`${name}: imports ${specifier!}, which is inside ${to}; import what the package exports`);
    } else if (specifier!.startsWith(SCOPE) && name.includes('/src/')) {
      edges.set(from, (edges.get(from) ?? new Set()).add(specifier!.slice(SCOPE.length).split('/')[0]!));
    }
  }
}

const shortName = (room: string): string => room.replace('packages/', '');
const graph = new Map([...edges].map(([room, to]) => [shortName(room), to]));
for (const [from, allowed] of [
  ['core', []],
  ['server', ['core']],
] as const) {
  for (const to of graph.get(from) ?? [])
    if (!(allowed as readonly string[]).includes(to)) problems.push(`packages/${from}/src imports ${SCOPE}${to}`);
}
function visit(name: string, path: readonly string[]): void {
  if (path.includes(name)) problems.push(`packages import each other in a cycle: ${[...path, name].join(' -> ')}`);
  else for (const to of graph.get(name) ?? []) visit(to, [...path, name]);
}
for (const name of graph.keys()) visit(name, []);

for (const problem of problems) console.error(problem);
if (problems.length > 0) process.exitCode = 1;
else
  console.log(
    `${files.length} files; packages: ${[...graph].map(([from, to]) => `${from} -> ${[...to].join(', ')}`).join('; ')}`,
  );
