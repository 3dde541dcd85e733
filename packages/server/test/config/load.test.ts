import fc from 'fast-check';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ConfigError, loadConfig, parseConfig } from '../../src/config/load.ts';
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
  const onSocket = parseConfig(
    minimal.replace('version: 1\n', 'version: 1\nhttp: { socket: /run/h.sock, socketMode: "0666" }\n'),
    'f',
  );
  assert.equal(onSocket.http, { socket: '/run/h.sock', socketMode: 0o666 });
  assert.equal(config.log, { level: 'info', format: 'auto' });
  assert.is(config.audit, false);
  assert.equal(config.crypto, { engine: 'auto' });
  const { socketMode, probeInterval, statusGrace, kmsV2Version, transport, keys } = config.instances[0]!;
  assert.equal(
    { socketMode, probeInterval, statusGrace, kmsV2Version, transport },
    { socketMode: 0o600, probeInterval: 30_000, statusGrace: 120_000, kmsV2Version: 'v2', transport: 'h2' },
  );
  assert.equal(keys, { uri: 'file:/var/lib/teapot-kms/keys', allowGroupRead: false });
});

const INSTANCE = 'name, socket, socketMode, socketGroup, keys, decryptOnly, kmsV2Version, transport, maxCallsInFlight';

/** What is wrong, a change of the minimal configuration, and how the lines of the error begin. */
const wrong: Wrong[] = [
  [
    'nothing at all',
    () => '',
    '1: expected a map of settings (version, log, audit, http, crypto, shutdownGrace, stateDirectory, instances), found null',
  ],
  ['a list', () => '[]', '1: expected a map of settings (version, '],
  ['a syntax error', () => 'version: 1\nhttp: [\n', '3: '],
  ['an alias', () => 'version: &a 1\nhttp: *a\n', '1: aliases (*name) are not allowed'],
  ['a key that comes twice', (t) => `${t}version: 1\n`, '6: '],
  ['no version', (t) => t.replace('version: 1\n', ''), '1: version: expected 1, found nothing'],
  ['no instance', () => 'version: 1\ninstances: []\n', '2: instances: expected at least one instance, found []'],
  ['no list of instances', () => 'version: 1\n', '1: instances: expected a list of instances, found nothing'],
  [
    'a name instead of an instance',
    () => 'version: 1\ninstances: [main]\n',
    `2: instances[0]: expected a map of settings (${INSTANCE}, `,
  ],
  [
    'an unknown setting',
    (t) => `${t}color: red\n`,
    '6: color: unknown setting; expected one of version, log, audit, http, ',
  ],
  [
    'an unknown setting of an instance',
    (t) => t.replace('socket:', 'sockets: x\n    socket:'),
    `4: instances[0].sockets: unknown setting; expected one of ${INSTANCE}, `,
  ],
  [
    'an unknown setting of the health port',
    ...top('http: { prot: 1 }', 'http.prot: unknown setting; expected one of host, port'),
  ],
  [
    'a wrong type of a name',
    (t) => t.replace('name: main', 'name: 7'),
    '3: instances[0].name: expected 1-63 of a-z, 0-9 and "-", found 7',
  ],
  [
    'a relative socket path',
    (t) => t.replace('/run', 'run'),
    '4: instances[0].socket: expected an absolute path without "." and "..", found "run/teapot-kms/main/kms.sock"',
  ],
  [
    'a socket path that the kernel refuses',
    (t) => t.replace('/run/', `/run/${'x'.repeat(100)}/`),
    '4: instances[0].socket: expected a socket path of at most 107 bytes, found 130 bytes',
  ],
  ['a mode without quotes', ...one('socketMode: 0600', 'expected an octal mode in quotes, such as "0600", found 600')],
  [
    'a mode that is not octal',
    ...one('socketMode: "0999"', 'expected an octal mode in quotes, such as "0600", found "0999"'),
  ],
  [
    'a mode with access for everyone',
    ...one('socketMode: "0666"', 'expected a mode without access for everyone, such as "0600" or "0660", found "0666"'),
  ],
  ...['nogroup-here', true, -1, 1.5, ''].map(
    (group) =>
      [
        `the group ${JSON.stringify(group)}`,
        ...one(
          `socketGroup: ${JSON.stringify(group)}`,
          `expected a group of this host, by name or number, found ${JSON.stringify(group)}`,
        ),
      ] as Wrong,
  ),
  ['an unknown version', ...one('kmsV2Version: v3', 'expected one of "v2", "v2beta1", found "v3"')],
  ['a transport that does not exist', ...one('transport: carrier', 'expected one of "grpc-js", "h2", found "carrier"')],
  ['a number that is too small', ...one('maxCallsInFlight: 0', 'expected a whole number of at least 1, found 0')],
  ['a number in quotes', ...one('maxCallsInFlight: "5"', 'expected a whole number of at least 1, found "5"')],
  ['a fraction', ...one('maxCallsInFlight: 1.5', 'expected a whole number of at least 1, found 1.5')],
  ['a duration without a unit', ...one('statusGrace: 120', 'expected a duration such as "2m", found 120')],
  [
    'a duration with a wrong unit',
    ...one('probeInterval: 30 sec', 'expected a duration such as "500ms", "30s", "2m" or "24h", found "30 sec"'),
  ],
  [
    'a duration that is too short',
    ...one('probeInterval: 50ms', 'expected a duration of at least 100 ms, found "50ms"'),
  ],
  [
    'an unknown log level',
    ...top('log: { level: loud }', 'log.level: expected one of "debug", "info", "warn", "error", found "loud"'),
  ],
  [
    'a crypto engine that does not exist',
    ...top('crypto: { engine: gpu }', 'crypto.engine: expected one of "auto", "inline", "pool", found "gpu"'),
  ],
  [
    'a port and a socket for http',
    ...top('http: { port: 1, socket: /s }', 'http.socket: unknown setting; expected one of host, port'),
  ],
  [
    'neither false nor a map for http',
    ...top(
      'http: true',
      'http: expected false or a map of settings (host, port) or a map of settings (socket, socketMode), found true',
    ),
  ],
  [
    'a port that does not exist',
    ...top('http: { port: 65536 }', 'http.port: expected a whole number from 1 to 65535, found 65536'),
  ],
  [
    'a health port that is not on loopback',
    ...top(
      'http: { host: 0.0.0.0 }',
      'http.host: expected a loopback address (127.0.0.1, ::1, localhost), found "0.0.0.0"',
    ),
  ],
  [
    'two instances with one name and socket',
    (t) => t + minimal.split('\n').slice(2).join('\n'),
    '6: instances[1].name: expected a name of its own, found "main" for a second time',
    '7: instances[1].socket: expected a socket of its own, found "/run/teapot-kms/main/kms.sock" for a second time',
  ],
  [
    'a URI instead of a map',
    ...keys('"file:/x"', ': expected a map such as { uri: "file:/var/lib/teapot-kms/keys" }, found "file:/x"'),
  ],
  ['no URI', ...keys('{}', '.uri: expected a key URI such as "file:/var/lib/teapot-kms/keys", found nothing')],
  ['a key store that does not exist', ...keys('{ uri: "ftp:/x" }', '.uri: no key store for ftp: URIs; ')],
  ['a relative key path', ...keys('{ uri: "file:x" }', '.uri: expected file:/absolute/directory, found "file:x"')],
  ['an unknown setting of the key store', ...keys('{ uri: "file:/k", pin: 1234 }', '.pin: unknown setting')],
  [
    'a Barbican keyset that is neither directory nor name',
    ...keys(
      '{ uri: "barbican:Some/Where" }',
      '.uri: expected barbican:/directory (manifest on this host) or barbican:name (manifest in Barbican), found "barbican:Some/Where"',
    ),
  ],
  [
    'a login that is wrong in two places',
    ...keys(
      '{ uri: "barbican:/k", cloudConfig: cloud.conf, interface: side }',
      '.cloudConfig: expected an absolute path, found a text of 10 characters',
      '.interface: expected one of "public", "internal", "admin", found a text of 4 characters',
    ),
  ],
  [
    'two logins at once',
    ...keys(
      '{ uri: "barbican:/k", cloudConfig: /c, cloud: { name: x } }',
      '.uri: expected only one of cloudConfig and cloud',
    ),
  ],
  [
    'a store that only decrypts and is no list',
    ...one(
      'decryptOnly: { uri: "file:/k" }',
      'expected a list of key stores, such as [{ uri: "file:/var/lib/teapot-kms/keys" }]',
    ),
  ],
  [
    'a store that only decrypts without its settings',
    ...one('decryptOnly: ["file:/k"]', 'expected a map such as { uri: "file:/var/lib/teapot-kms/keys" }', '[0]'),
  ],
  [
    'a store that only decrypts with an unknown setting',
    ...one('decryptOnly: [{ uri: "file:/k", pin: 1 }]', 'unknown setting', '[0].pin'),
  ],
  [
    'a store that encrypts and only decrypts',
    ...one(
      'decryptOnly: [{ uri: "file:/var/lib/teapot-kms/keys" }]',
      'expected each key store of an instance once, in keys or in decryptOnly',
      '[0].uri',
    ),
  ],
  [
    'the login that earlier versions had in the configuration',
    ...keys(
      '{ uri: "barbican:/k", auth: { authUrl: "http://k", passwordFile: /p } }',
      '.auth: was removed; write the login into a clouds.yaml and name it here as cloud: { name: NAME, file: /path/to/clouds.yaml }',
    ),
  ],
];
const SECRET = 'hunter2';
const PIN = `pin-value=${SECRET}`;
for (const [what, text] of [
  ['a PIN for the whole file', `${SECRET}\n`],
  ['a list of secrets', `- ${SECRET}\n`],
  ['a secret for the instances', `version: 1\ninstances: ${SECRET}\n`],
  ['instances that are a map', `version: 1\ninstances: { keys: { uri: "pkcs11:?${PIN}" } }\n`],
  ['a secret for an instance', `version: 1\ninstances: [${SECRET}]\n`],
  ['YAML that ends too early', `version: 1\ninstances: ]${SECRET}\n`],
  ['a text behind a value', `version: "1" ${SECRET}\n`],
  ...[
    `"${SECRET}"`,
    `"pkcs11:token=t?${PIN}"`,
    `{ uri: "${SECRET}" }`,
    `{ uri: "PKCS11:token=t;object=k?${PIN}" }`,
    `{ uri: "pkcs11:token=t;object=k?${PIN}" }`,
    `{ uri: "pkcs11:${PIN}" }`,
    `{ uri: "file:x?${PIN}" }`,
    `{ uri: ["${SECRET}"] }`,
    `{ uri: "barbican:/k", cloudConfig: ${SECRET} }`,
    `{ uri: "barbican:/k", caFile: ${SECRET} }`,
    `{ uri: "barbican:/k", cloud: ${SECRET} }`,
    `{ uri: "barbican:/k", cloud: { file: ${SECRET} } }`,
    `{ uri: "barbican:/k", endpoint: ${SECRET} }`,
    `{ uri: "barbican:/k", auth: { passwordFile: ${SECRET} } }`,
    `{ uri: "barbican:/k", interface: ${SECRET} }`,
    `{ uri: "barbican:/k", legacyKeys: [${SECRET}] }`,
    `{ uri: "barbican:/k", maxUnconfirmed: ${SECRET} }`,
    `{ uri: "barbican:/k", password: ${SECRET} }`,
    `{ uri: "k8s-secret:a/b", serves: ${SECRET} }`,
    `{ uri: "k8s-secret:a/b", serves: unchecked, kubeconfig: ${SECRET} }`,
    `{ uri: "file:/k", allowGroupRead: ${SECRET} }`,
  ].flatMap((value) => [
    [`keys: ${value}`, minimal.replace('{ uri: "file:/var/lib/teapot-kms/keys" }', value)] as const,
    [`decryptOnly: [${value}]`, `${minimal}    decryptOnly: [${value}]\n`] as const,
  ]),
  ['a secret instead of stores that only decrypt', `${minimal}    decryptOnly: ${SECRET}\n`],
] as const) {
  test(`${what}: the error does not show it`, () => {
    assert.not.match(problemsOf(text).join('\n'), SECRET);
  });
}

for (const [what, change, ...expected] of wrong) {
  test(`${what} is refused with line, setting, expected and found`, () => {
    const problems = problemsOf(change(minimal));
    expected.forEach((line, index) => {
      assert.ok(
        problems[index]?.startsWith(`c.yaml:${line}`),
        `expected ${line}\nfound    ${problems.join('\n         ')}`,
      );
    });
  });
}

type Wrong = [what: string, ...Row];
type Row = [change: (text: string) => string, ...expected: string[]];

/** A setting of the instance. */
function one(line: string, expected: string, below = ''): Row {
  return [(text) => `${text}    ${line}\n`, `6: instances[0].${line.split(':')[0]!}${below}: ${expected}`];
}

/** A setting of the configuration. */
function top(line: string, expected: string): Row {
  return [(text) => `${text}${line}\n`, `6: ${expected}`];
}

/** `keys` of the instance. */
function keys(value: string, ...expected: string[]): Row {
  return [
    (text) => text.replace('{ uri: "file:/var/lib/teapot-kms/keys" }', value),
    ...expected.map((message) => `5: instances[0].keys${message}`),
  ];
}

for (const mode of [0o666, 0o664]) {
  test(`a configuration of mode 0${mode.toString(8)} is refused with what to run: it names libraries to load`, () => {
    const file = join(mkdtempSync(join(tmpdir(), 'teapot-')), 'config.yaml');
    writeFileSync(file, minimal);
    chmodSync(file, mode);
    try {
      loadConfig(file);
    } catch (error) {
      assert.instance(error, ConfigError);
      assert.match((error as ConfigError).message, `chmod go-w ${file}`);
      chmodSync(file, 0o644);
      loadConfig(file);
      return;
    } finally {
      rmSync(dirname(file), { recursive: true });
    }
    assert.unreachable();
  });
}

test('every problem is reported, not only the first', () => {
  const text = minimal.replace('version: 1', 'version: 2').replace('main\n', 'MAIN\n').replace('/run', 'run');
  assert.is(problemsOf(text).length, 3);
});

test('the patterns of the JSON Schema are those of Helm too, whose expressions repeat at most 1000 times and look nowhere', () => {
  const patterns = [...JSON.stringify(configJsonSchema()).matchAll(/"pattern":("(?:[^"\\\\]|\\\\.)*")/g)].map(
    ([, text]) => JSON.parse(text!) as string,
  );
  assert.ok(patterns.length > 3);
  for (const pattern of patterns) {
    assert.not.match(pattern, /\(\?[=!<]|\\[1-9]/);
    for (const [, most] of pattern.matchAll(/\{(?:\d*,)?(\d+)\}/g)) assert.ok(Number(most) <= 1_000, pattern);
  }
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
  const runs = Math.min(Number(process.env['TEAPOT_FUZZ_RUNS'] ?? 2_000), 200_000);
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
    'audit',
    'crypto',
    'http',
    'instances',
    'log',
    'shutdownGrace',
    'stateDirectory',
    'version',
  ]);
  for (const [name, property] of Object.entries(schema.properties)) assert.ok(property.description, name);
});

test.run();
