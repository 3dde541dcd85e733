import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Registry } from '../../src/observability/prometheus.ts';

const linesOf = (registry: Registry): string[] => registry.text().split('\n');

test('a metric is its help, its type and a line for each series', () => {
  const registry = new Registry();
  registry.counter('calls_total', 'Calls.', (emit) => {
    emit({ method: 'Decrypt', code: 'OK' }, 3);
    emit({ method: 'Encrypt', code: 'OK' }, 0);
  });
  registry.gauge('up', 'Whether it runs.', (emit) => emit({}, 1));
  assert.is(
    registry.text(),
    `# HELP calls_total Calls.
# TYPE calls_total counter
calls_total{method="Decrypt",code="OK"} 3
calls_total{method="Encrypt",code="OK"} 0
# HELP up Whether it runs.
# TYPE up gauge
up 1
`,
  );
});

test('backslash, line feed and, in a label only, the quote are escaped', () => {
  const registry = new Registry();
  registry.gauge('a', 'a\\b\n"c"', (emit) => emit({ path: 'a\\b\n"c"\\n' }, 1));
  assert.equal(linesOf(registry), ['# HELP a a\\\\b\\n"c"', '# TYPE a gauge', 'a{path="a\\\\b\\n\\"c\\"\\\\n"} 1', '']);
});

test('values have the form that Go parses', () => {
  const values = [0.25, 1e21, 1e-7, Infinity, -Infinity, NaN];
  const registry = new Registry();
  registry.gauge('a', 'A.', (emit) => values.forEach((value, index) => emit({ i: String(index) }, value)));
  assert.equal(
    linesOf(registry).flatMap((line) => /^a.* (\S+)$/.exec(line)?.[1] ?? []),
    ['0.25', '1e+21', '1e-7', '+Inf', '-Inf', 'NaN'],
  );
});

test('a bucket counts durations up to its bound, and those of all smaller buckets', () => {
  const registry = new Registry();
  const durations = registry.histogram('took_seconds', 'Took.', [0.1, 0.25]).with({ method: 'Decrypt' });
  for (const seconds of [0.05, 0.1, 0.2, 4]) durations.observe(seconds);
  assert.equal(linesOf(registry).slice(1, -1), [
    '# TYPE took_seconds histogram',
    'took_seconds_bucket{method="Decrypt",le="0.1"} 2',
    'took_seconds_bucket{method="Decrypt",le="0.25"} 3',
    'took_seconds_bucket{method="Decrypt",le="+Inf"} 4',
    'took_seconds_sum{method="Decrypt"} 4.35',
    'took_seconds_count{method="Decrypt"} 4',
  ]);
});

test('the same labels have the same durations, and a series is there before its first duration', () => {
  const registry = new Registry();
  const histogram = registry.histogram('took_seconds', 'Took.', [1]);
  assert.is(histogram.with({ ok: 'true' }), histogram.with({ ok: 'true' }));
  assert.ok(registry.text().includes('took_seconds_count{ok="true"} 0'));
});

test('two metrics of one name are refused', () => {
  const registry = new Registry();
  registry.gauge('a', 'A.', () => undefined);
  assert.throws(() => registry.counter('a', 'A.', () => undefined), /a already/);
});

test.run();
