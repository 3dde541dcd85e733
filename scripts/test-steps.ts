/** What `npm test` runs, in order. */
interface Step {
  readonly name: string;
  readonly command: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Steps, and how many of them run at a time. Where their order is free, the longest come first. */
export interface Lanes {
  readonly lanes: number;
  readonly steps: readonly Step[];
}

interface Options {
  readonly full: boolean;
  /** Where all steps leave their logs. */
  readonly logDirectory: string;
}

const RUN_TESTS = 'node scripts/run-tests.ts';
const SHIPPED = 'packages/core/test packages/server/test';
const INTEGRATION = 'packages/server/integration packages/bench/integration';
const NEVER_LOST = 'packages/core/test/service/keys-are-never-lost.test.ts';
const KEY_STORES = 'packages/testing/test packages/core/integration/pkcs11';
/** What may differ between versions of Node: cryptography, files, configuration, and the program as it ships. */
const FLOOR = [
  'packages/core/test/envelope/vectors.test.ts',
  'packages/core/test/stores/file/places.test.ts',
  'packages/server/test/config/load.test.ts',
  'packages/server/integration/serve.test.ts',
].join(' ');

const alone = (name: string, command: string, env: Step['env'] = {}): Lanes => ({
  lanes: 1,
  steps: [{ name, command, env }],
});

/** Makes what is installed and tests it. */
function packages(full: boolean): Step {
  const make = `node --conditions=teapot-source scripts/package/main.ts${full ? '' : ' bundle npm image'}`;
  const files = ['image', 'manual', 'unit', ...(full ? ['artifacts', 'debian', 'containerd'] : [])].map(
    (name) => `scripts/test/package/${name}.test.ts`,
  );
  return {
    name: 'packages',
    command: `${make} && ${RUN_TESTS} --jobs 1 --timeout 3000 ${files.join(' ')}`,
    env: full ? { TEAPOT_TEST_FULL: '1' } : {},
  };
}

/** The newest, one between, and the oldest. `npm test` takes the newest. */
const KUBERNETES = ['1.37.2', '1.34.4', '1.28.15'] as const;

/** Groups of scenarios on a real kube-apiserver. What takes minutes is a part of `npm run test:full` only. */
function onKubernetes(version: (typeof KUBERNETES)[number], full: boolean): Step[] {
  const [newest, between] = KUBERNETES;
  // A key store behaves alike under every minor; the file store shows how each minor behaves, with all its waits.
  const everyScenario = full && version !== between;
  const onNewest = full && version === newest;
  const step = (name: string, whole: boolean, ...groups: readonly string[]): Step => ({
    name: `${name}-${version}`,
    command: `${RUN_TESTS} --jobs 1 --timeout 3000 ${groups.map((group) => `e2e/test/${group}.test.ts`).join(' ')}`,
    env: { TEAPOT_TEST_KUBERNETES: version, ...(whole ? { TEAPOT_TEST_FULL: '1' } : {}) },
  });
  const extra = (whole: boolean, ...groups: string[]): string[] => (whole ? groups : []);
  return [
    step('e2e', full, 'v1', 'v2', ...extra(full, 'kills')),
    step('tenants', everyScenario, 'k8s-secret', 'service-account', 'tenants', 'instances', 'manifests'),
    ...(everyScenario ? [step('k8s-secret', true, 'k8s-secret-scenarios')] : []),
    ...(full ? [step('e2e-tokens', onNewest, 'hsm-v2', ...extra(onNewest, 'tpm-v2', 'hsm-v1', 'hsm-kills'))] : []),
    step('outages', full, 'outages'),
    step('outages-hsm', onNewest, 'hsm-outages'),
    step('barbican', onNewest, 'barbican-migration', ...extra(onNewest, 'barbican', 'barbican-outages')),
  ];
}

export function stepsOf({ full, logDirectory }: Options): readonly Lanes[] {
  const kubernetes = full ? KUBERNETES : KUBERNETES.slice(0, 1);
  const fullEnv: Step['env'] = full ? { TEAPOT_TEST_FULL: '1' } : {};
  const oneByOne = (name: string, ...args: string[]): Step => ({
    name,
    command: `${RUN_TESTS} --jobs 1 --timeout 3000 ${args.join(' ')}`,
    env: fullEnv,
  });
  /** Most of an hour, on one core. */
  const neverLost: Step = {
    name: 'keys-are-never-lost',
    command: `${RUN_TESTS} --timeout 4000 ${NEVER_LOST}`,
    env: { TEAPOT_FUZZ_RUNS: '100000' },
  };
  // The integration tests, in two parts that take as long as each other.
  const onKeyStores = ['pkcs11', 'barbican', 'remedies'];
  const openstack = [
    ...['session', 'deployment'],
    ...(full ? ['credentials', 'keyset', 'keyset-p11', 'outages', 'storm', 'deployment-rotations'] : []),
  ];

  return [
    alone('set-up', `bash scripts/set-up-tests.sh ${kubernetes.join(' ')}`),
    {
      lanes: 2,
      steps: [
        { name: 'lint', command: 'npm run --silent lint' },
        { name: 'build', command: 'npm run --silent build' },
        { name: 'typecheck', command: 'npm run --silent typecheck' },
        { name: 'format', command: 'npm run --silent format:check' },
        { name: 'cycles', command: 'npm run --silent cycles' },
        { name: 'chart', command: 'npm run --silent chart -- --check' },
        { name: 'vectors', command: 'npm run --silent vectors -- --check' },
        { name: 'bench-report', command: 'npm run --silent bench:report -- --check' },
        { name: 'bench-counters', command: 'npm run --silent bench:counters' },
      ],
    },
    {
      // These steps wait for much of their time, so five of them share two cores.
      lanes: 5,
      steps: [
        ...(full ? [neverLost] : []),
        {
          name: 'unit',
          command: `${full ? 'c8 ' : ''}${RUN_TESTS} ${full ? `--timeout 3000 --except ${NEVER_LOST} ` : ''}${SHIPPED} packages/bench/test`,
          env: full ? { ...fullEnv, TEAPOT_FUZZ_RUNS: '1000000' } : {},
        },
        // Begin early, since they wait for most of their time.
        ...(full
          ? [oneByOne('rotate-kills', 'e2e/test/rotate-kills.test.ts'), oneByOne('setup', 'e2e/test/setup.test.ts')]
          : []),
        oneByOne('key-stores', ...(full ? [] : ['--except endurance']), KEY_STORES),
        oneByOne('integration', ...onKeyStores.map((text) => `--except ${text}`), INTEGRATION),
        oneByOne(
          'integration-keys',
          ...onKeyStores.filter((text) => full || text !== 'barbican').map((text) => `--match ${text}`),
          INTEGRATION,
        ),
        { name: 'conformance', command: 'npm run --silent conformance', env: fullEnv },
        ...kubernetes.flatMap((version) => onKubernetes(version, full)),
        oneByOne('restore-drill', 'e2e/test/restore-drill.test.ts'),
        packages(full),
        ...(full ? [oneByOne('upgrade', 'e2e/test/upgrade.test.ts'), oneByOne('helm', 'e2e/test/chart.test.ts')] : []),
        oneByOne('openstack', ...openstack.map((name) => `packages/core/integration/barbican/${name}.test.ts`)),
        oneByOne('scan', 'e2e/test/scan.test.ts'),
        oneByOne('rotate', 'e2e/test/rotate.test.ts', 'e2e/test/migrate.test.ts'),
        oneByOne('docs', 'docs/test'),
        { name: 'floor', command: `bash scripts/floor-node.sh ${full ? SHIPPED : FLOOR}` },
      ],
    },
    alone('secrets-in-logs', `node scripts/search-logs.ts ${logDirectory}`),
  ];
}
