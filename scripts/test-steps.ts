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
const KEY_STORES = 'packages/testing/test packages/core/integration/pkcs11';
/** What may differ between versions of Node: cryptography, files, configuration, and the program as it ships. */
const FLOOR = [
  'packages/core/test/envelope/vectors.test.ts',
  'packages/core/test/stores/file/file.test.ts',
  'packages/core/test/service/keyset-service.test.ts',
  'packages/server/test/config/load.test.ts',
  'packages/server/integration/serve.test.ts',
].join(' ');

const alone = (name: string, command: string, env: Step['env'] = {}): Lanes => ({
  lanes: 1,
  steps: [{ name, command, env }],
});

/** Makes what is installed and tests it. The bundle passes the same tests as the program in a checkout. */
function packages(full: boolean): Step {
  const make = `node --conditions=teapot-source scripts/package/main.ts${full ? '' : ' bundle npm'}`;
  const files = ['artifacts', 'manual', 'unit', ...(full ? ['debian'] : [])].map(
    (name) => `scripts/test/package/${name}.test.ts`,
  );
  const suites = ['serve', 'pkcs11-cli'].map((name) => `packages/server/integration/${name}.test.ts`);
  const bundle = 'TEAPOT_TEST_LAUNCHER=$PWD/dist/bundle/bin/teapot-kms';
  return {
    name: 'packages',
    command: `${make} && ${RUN_TESTS} --jobs 1 --timeout 3000 ${files.join(' ')} && ${bundle} ${RUN_TESTS} --jobs 1 ${suites.join(' ')}`,
    env: full ? { TEAPOT_TEST_FULL: '1' } : {},
  };
}

export function stepsOf({ full, logDirectory }: Options): readonly Lanes[] {
  const kubernetes = full ? ['1.37.2', '1.34.4', '1.28.15'] : ['1.37.2'];
  const fullEnv: Step['env'] = full ? { TEAPOT_TEST_FULL: '1' } : {};
  /** Groups that take minutes and are not among the main ones. */
  const inFull = (...groups: string[]): string[] => (full ? groups : []);
  const oneByOne = (name: string, ...args: string[]): Step => ({
    name,
    command: `${RUN_TESTS} --jobs 1 --timeout 3000 ${args.join(' ')}`,
    env: fullEnv,
  });
  const e2e = (version: string, name: string, groups: string[]): Step => {
    const step = oneByOne(`${name}-${version}`, ...groups.map((group) => `e2e/test/${group}.test.ts`));
    return { ...step, env: { ...fullEnv, TEAPOT_TEST_KUBERNETES: version } };
  };
  const openstack = ['session', 'credentials', 'keyset-p11', ...inFull('keyset', 'outages', 'storm')];

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
        { name: 'vectors', command: 'npm run --silent vectors -- --check' },
        { name: 'bench-report', command: 'npm run --silent bench:report -- --check' },
        { name: 'bench-counters', command: 'npm run --silent bench:counters' },
      ],
    },
    alone(
      'unit',
      `${full ? 'c8 ' : ''}${RUN_TESTS} ${full ? '--timeout 3000 ' : ''}${SHIPPED} packages/bench/test`,
      full ? { TEAPOT_FUZZ_RUNS: '1000000' } : {},
    ),
    {
      // Two cores are not busy with two of these, which wait for much of their time.
      lanes: 3,
      steps: [
        oneByOne('key-stores', ...(full ? [] : ['--except endurance']), KEY_STORES),
        { name: 'conformance', command: 'npm run --silent conformance', env: fullEnv },
        oneByOne('integration', '--except remedies', 'packages/server/integration packages/bench/integration'),
        oneByOne('remedies', '--match remedies', 'packages/server/integration'),
        ...kubernetes.flatMap((version) => [
          e2e(version, 'e2e', ['v1', 'v2', 'kills']),
          e2e(version, 'tenants', [
            'k8s-secret',
            'service-account',
            'tenants',
            'instances',
            'manifests',
            ...inFull('k8s-secret-scenarios'),
          ]),
          e2e(version, 'e2e-tokens', ['hsm-v2', 'tpm-v2', ...inFull('hsm-v1', 'hsm-kills')]),
          e2e(version, 'outages', ['outages']),
          e2e(version, 'outages-hsm', ['hsm-outages']),
          e2e(version, 'barbican', ['barbican-migration', ...inFull('barbican', 'barbican-outages')]),
        ]),
        oneByOne('restore-drill', 'e2e/test/restore-drill.test.ts'),
        packages(full),
        ...(full ? [oneByOne('upgrade', 'e2e/test/upgrade.test.ts')] : []),
        oneByOne('openstack', ...openstack.map((name) => `packages/core/integration/barbican/${name}.test.ts`)),
        oneByOne('scan', 'e2e/test/scan.test.ts'),
        oneByOne('docs', 'docs/test'),
        { name: 'floor', command: `bash scripts/floor-node.sh ${full ? SHIPPED : FLOOR}` },
      ],
    },
    alone('secrets-in-logs', `node scripts/search-logs.ts ${logDirectory}`),
  ];
}
