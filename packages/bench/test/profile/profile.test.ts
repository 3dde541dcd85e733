import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { callTree } from '../../src/profile/cpu-profile.ts';
import type { CpuProfile, Window } from '../../src/profile/cpu-profile.ts';
import { flameGraph } from '../../src/profile/flame-graph.ts';
import { ownerOf, whereIs } from '../../src/profile/owner.ts';
import { summarise } from '../../src/profile/summary.ts';
import { profileTables } from '../../src/profile/tables.ts';

const OURS = 'file:///repo/packages/core/dist/envelope/xaes.js';
const GRPC = 'file:///repo/node_modules/@grpc/grpc-js/build/src/server.js';

const frame = (functionName: string, url = '', lineNumber = 0) => ({ functionName, url, lineNumber });

/** root → grpc-js → ours → node:crypto → native, whose name `toString` every object has. Siblings: idle, garbage, program. */
const NODES: CpuProfile['nodes'] = [
  { id: 1, callFrame: frame('(root)'), children: [2, 6, 7, 8] },
  { id: 2, callFrame: frame('handle', GRPC, 11), children: [3] },
  { id: 3, callFrame: frame('open', OURS, 44), children: [4] },
  { id: 4, callFrame: frame('update', 'node:internal/crypto/cipher', 184), children: [5] },
  { id: 5, callFrame: frame('toString') },
  { id: 6, callFrame: frame('(idle)') },
  { id: 7, callFrame: frame('(garbage collector)') },
  { id: 8, callFrame: frame('(program)') },
];

/** Each sample takes 10 µs. The first one is at 1,010. */
const treeOf = (samples: number[], window?: Window) =>
  callTree({ nodes: NODES, startTime: 1_000, samples, timeDeltas: samples.map(() => 10) }, window);

const owners = (samples: number[], window?: Window): [string, number][] =>
  summarise(treeOf(samples, window)).owners.map(({ owner, share }) => [owner, share]);

test('the URL of a frame gives the owner, and native functions belong to their caller', () => {
  const named = treeOf([]).map((node) => [node.frame.functionName, ownerOf(node)]);
  assert.equal(named, [
    ['(root)', 'native code outside of JavaScript'],
    ['handle', '@grpc/grpc-js'],
    ['open', 'the plugin'],
    ['update', 'node:crypto'],
    ['toString', 'node:crypto'],
    ['(idle)', 'idle'],
    ['(garbage collector)', 'garbage collection'],
    ['(program)', 'native code outside of JavaScript'],
  ]);
});

test('shares are fractions of the busy time and add up to 1', () => {
  assert.equal(owners([2, 3, 4, 5, 6, 6, 6, 6, 7]), [
    ['node:crypto', 0.4],
    ['@grpc/grpc-js', 0.2],
    ['the plugin', 0.2],
    ['garbage collection', 0.2],
  ]);
});

test('samples outside the window do not count', () => {
  assert.equal(owners([7, 7, 3, 2], [1_025, 1_035]), [['the plugin', 1]]);
});

test('an idle process has no shares and no division by zero', () => {
  const { busy, busyShare, owners: none } = summarise(treeOf([6, 6]));
  assert.equal([busy, busyShare, none], [0, 0, []]);
});

test('a function in several places of the tree is counted once', () => {
  const nodes = [...NODES.slice(1, 3), { id: 9, callFrame: frame('open', OURS, 44) }];
  const root = { id: 1, callFrame: frame('(root)'), children: [2, 9] };
  const tree = callTree({ nodes: [root, ...nodes], startTime: 0, samples: [3, 9], timeDeltas: [1, 1] });
  assert.equal(summarise(tree).functions, [
    { name: 'open', where: 'core/envelope/xaes.js:45', owner: 'the plugin', share: 1 },
  ]);
});

test('positions are short', () => {
  assert.is(whereIs(frame('a', GRPC, 11)), 'grpc-js/server.js:12');
  assert.is(whereIs(frame('a', 'node:internal/http2/core', 9)), 'node:http2/core:10');
  assert.is(whereIs(frame('a')), 'native');
});

test('a nested package owns its own code', () => {
  const url = 'file:///repo/node_modules/lerna/node_modules/pino/lib/tools.js';
  const [, inner] = callTree({
    nodes: [
      { id: 1, callFrame: frame('(root)'), children: [2] },
      { id: 2, callFrame: frame('asJson', url) },
    ],
    startTime: 0,
    samples: [],
    timeDeltas: [],
  });
  assert.is(ownerOf(inner!), 'pino');
});

test('tables show the time per call by owner and mark our code', () => {
  const [whose, top] = profileTables({ nodes: treeOf([2, 2, 2, 3]), calls: 2 });
  assert.equal(whose?.rows, [
    ['@grpc/grpc-js', '75.0 %', '15.0'],
    ['**the plugin**', '25.0 %', '5.0'],
  ]);
  assert.equal(top?.rows[0], ['handle', 'grpc-js/server.js:12', '@grpc/grpc-js', '75.0 %']);
});

test('a flame graph is one page, the value of a box includes its children, and idle time is left out', () => {
  const page = flameGraph('</script><b>', treeOf([3, 3, 5, 6, 6]));
  const [, json] = /id="data">\s*(.*?)\s*<\/script>/s.exec(page) ?? [];
  const { title, root } = JSON.parse(json!) as { title: string; root: { value: number; children: unknown[] } };
  assert.is(title, '</script><b>');
  assert.is(root.value, 30);
  assert.is(root.children.length, 1);
  assert.not.match(page, 'https:');
});

test.run();
