import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ConfigError, parseConfig } from '../../src/config/load.ts';
import { configJsonSchema } from '../../src/config/schema.ts';

const minimal = `version: 1
instances:
  - name: main
    socket: /run/teapot-kms/main/kms.sock
    keys: { uri: "file:/var/lib/teapot-kms/keys" }
`;

function problemsOf(text: string): string[] {
  try {
    parseConfig(text, 'c.yaml');
  } catch (error) {
    assert.instance(error, ConfigError);
    return (error as Error).message.split('\n');
  }
  throw new Error('it was accepted');
}

test('what is left out has defaults', () => {
  const config = parseConfig(minimal, 'c.yaml');
  assert.equal(config.http, { host: '127.0.0.1', port: 8089 });
  assert.equal(config.log, { level: 'info' });
  assert.equal(config.crypto, { engine: 'auto' });
  const { socketMode, probeInterval, statusGrace, kmsV2Version, transport, keys } = config.instances[0]!;
  assert.equal(
    { socketMode, probeInterval, statusGrace, kmsV2Version, transport },
    { socketMode: 0o600, probeInterval: 30_000, statusGrace: 120_000, kmsV2Version: 'v2', transport: 'grpc-js' },
  );
  assert.equal(keys, { uri: 'file:/var/lib/teapot-kms/keys', allowGroupRead: false });
});

const wrong: [what: string, change: (text: string) => string, expected: string[]][] = [
  ['no version', (t) => t.replace('version: 1\n', ''), ['c.yaml:1: version: expected 1, found nothing']],
  ['an unknown setting', (t) => `${t}color: red\n`, ['c.yaml:6: color: unknown setting']],
  [
    'an unknown setting of an instance',
    (t) => t.replace('socket:', 'sockets: x\n    socket:'),
    ['c.yaml:4: instances[0].sockets: unknown setting'],
  ],
  [
    'a wrong type',
    (t) => t.replace('name: main', 'name: 7'),
    ['c.yaml:3: instances[0].name: expected string, found 7'],
  ],
  [
    'a relative socket path',
    (t) => t.replace('/run', 'run'),
    [
      'c.yaml:4: instances[0].socket: expected an absolute path without "." and "..", found "run/teapot-kms/main/kms.sock"',
    ],
  ],
  [
    'a mode that lets everyone in',
    (t) => `${t}    socketMode: "0666"\n`,
    [
      'c.yaml:6: instances[0].socketMode: expected a mode that leaves everyone else out, such as "0600" or "0660", found "0666"',
    ],
  ],
  [
    'a mode without quotes',
    (t) => `${t}    socketMode: 0600\n`,
    ['c.yaml:6: instances[0].socketMode: expected string, found 600'],
  ],
  [
    'a duration without a unit',
    (t) => `${t}    probeInterval: 30\n`,
    ['c.yaml:6: instances[0].probeInterval: expected string, found 30'],
  ],
  [
    'a duration with a wrong unit',
    (t) => `${t}    probeInterval: 30 sec\n`,
    ['c.yaml:6: instances[0].probeInterval: expected a duration such as 500ms, 30s, 2m or 24h, found "30 sec"'],
  ],
  [
    'a key store that does not exist',
    (t) => t.replace('file:', 'ftp:'),
    ['c.yaml:5: instances[0].keys.uri: no key store for ftp: URIs; known schemes: file:'],
  ],
  [
    'a relative key path',
    (t) => t.replace('file:/var', 'file:var'),
    ['c.yaml:5: instances[0].keys.uri: expected file:/absolute/directory, found "file:var/lib/teapot-kms/keys"'],
  ],
  [
    'a Barbican keyset that is neither directory nor name',
    (t) => t.replace('file:/var/lib/teapot-kms/keys', 'barbican:Some/Where'),
    [
      'c.yaml:5: instances[0].keys.uri: expected barbican:/directory (manifest on this host) or barbican:name (manifest in Barbican), found "barbican:Some/Where"',
    ],
  ],
  [
    'a login that is wrong in two places',
    (t) => t.replace('file:/var/lib/teapot-kms/keys"', 'barbican:/k", cloudConfig: cloud.conf,\n      interface: side'),
    [
      'c.yaml:5: instances[0].keys.cloudConfig: expected an absolute path, found "cloud.conf"',
      'c.yaml:6: instances[0].keys.interface: ',
    ],
  ],
  [
    'two logins at once',
    (t) => t.replace('file:/var/lib/teapot-kms/keys"', 'barbican:/k", cloudConfig: /c, cloud: { name: x }'),
    ['c.yaml:5: instances[0].keys.uri: expected only one of cloudConfig and cloud'],
  ],
  [
    'the login that earlier versions had in the configuration',
    (t) => t.replace('file:/var/lib/teapot-kms/keys"', 'barbican:/k", auth: { authUrl: "http://k", passwordFile: /p }'),
    [
      'c.yaml:5: instances[0].keys.auth: was removed; write the login into a clouds.yaml and name it here as cloud: { name: NAME, file: /path/to/clouds.yaml }',
    ],
  ],
  [
    'an unknown setting of the key store',
    (t) => t.replace('keys" }', 'keys", pin: 1234 }'),
    ['c.yaml:5: instances[0].keys.pin: unknown setting'],
  ],
  [
    'a health port for the whole world',
    (t) => `http: { host: 0.0.0.0 }\n${t}`,
    ['c.yaml:1: http.host: expected a loopback address: 127.0.0.1, ::1, localhost, found "0.0.0.0"'],
  ],
  [
    'a crypto engine that does not exist',
    (t) => `crypto: { engine: gpu }\n${t}`,
    ['c.yaml:1: crypto.engine: expected one of "auto"|"inline"|"pool", found "gpu"'],
  ],
  [
    'two instances of one name and socket',
    (t) => t + minimal.split('\n').slice(2).join('\n'),
    [
      'c.yaml:6: instances[1].name: expected a name of its own, found "main" again',
      'c.yaml:7: instances[1].socket: expected a socket of its own, found "/run/teapot-kms/main/kms.sock" again',
    ],
  ],
  [
    'no instance',
    () => 'version: 1\ninstances: []\n',
    ['c.yaml:2: instances: expected array to have >=1 items, found []'],
  ],
  ['a syntax error', () => 'version: 1\nhttp: [\n', ['c.yaml:3: ']],
  ['an alias', () => 'version: &a 1\nhttp: *a\n', ['c.yaml:1: aliases (*name) are not allowed']],
  ['a key that comes twice', (t) => `${t}version: 1\n`, ['c.yaml:6: ']],
  ['nothing at all', () => '', ['c.yaml:1: expected object, found null']],
];
for (const [what, change, expected] of wrong) {
  test(`${what} is refused with line, path, expected and found`, () => {
    const problems = problemsOf(change(minimal));
    expected.forEach((line, index) => {
      assert.ok(problems[index]?.startsWith(line), `expected ${line}\nfound    ${problems.join('\n         ')}`);
    });
  });
}

test('a socket path that the kernel would not take is refused with the limit', () => {
  const [problem] = problemsOf(minimal.replace('/run/', `/run/${'x'.repeat(100)}/`));
  assert.match(problem!, 'at most 107 bytes');
});

test('every problem is reported, not only the first', () => {
  const text = minimal.replace('version: 1', 'version: 2').replace('main\n', 'MAIN\n').replace('/run', 'run');
  assert.is(problemsOf(text).length, 3);
});

test('arbitrary text is a configuration or a ConfigError', () => {
  const snippets = [
    'version: 1',
    'instances:',
    '- name: a',
    '  socket: /a',
    '  keys: {uri: "file:/k"}',
    'http: false',
    '{',
    '&a',
    '*a',
    '\t',
    '!!js/x',
    '? ',
    '|',
  ];
  const runs = Number(process.env['TEAPOT_FUZZ_RUNS'] ?? 2_000);
  const text = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 200 }),
    fc.array(fc.constantFrom(...snippets), { maxLength: 12 }).map((lines) => lines.join('\n')),
    fc
      .tuple(fc.nat(minimal.length), fc.string({ maxLength: 5 }))
      .map(([at, noise]) => minimal.slice(0, at) + noise + minimal.slice(at)),
  );
  const started = performance.now();
  const heapBefore = process.memoryUsage().heapUsed;
  fc.assert(
    fc.property(text, (input) => {
      try {
        parseConfig(input, 'c.yaml');
      } catch (error) {
        assert.instance(error, ConfigError);
      }
    }),
    { numRuns: runs },
  );
  globalThis.gc?.();
  const grown = Math.round((process.memoryUsage().heapUsed - heapBefore) / 1024);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`\nFIGURE fuzz config: ${runs} inputs, ${seconds} s, heap ${grown} KiB more`);
  assert.ok(grown < 20_000, `the heap grew by ${grown} KiB`);
});

test('the JSON Schema names every setting, with what it is for', () => {
  const schema = configJsonSchema() as { properties: Record<string, { description?: string }> };
  assert.equal(Object.keys(schema.properties).sort(), [
    'crypto',
    'http',
    'instances',
    'log',
    'shutdownGrace',
    'version',
  ]);
  for (const [name, property] of Object.entries(schema.properties)) assert.ok(property.description, name);
});

test.run();
