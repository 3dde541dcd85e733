import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { counter, Durations, gauge, histogram } from '../../src/observability/prometheus.ts';

test('a metric is its help, its type and a line for each series', () => {
  assert.is(
    counter('calls_total', 'Calls.', [
      [{ method: 'Decrypt', code: 'OK' }, 3],
      [{ method: 'Encrypt', code: 'OK' }, 0],
    ]),
    `# HELP calls_total Calls.
# TYPE calls_total counter
calls_total{method="Decrypt",code="OK"} 3
calls_total{method="Encrypt",code="OK"} 0
`,
  );
  assert.is(gauge('up', 'Whether it runs.', 1), '# HELP up Whether it runs.\n# TYPE up gauge\nup 1\n');
});

test('a series without a value is left out', () => {
  assert.is(gauge('a', 'A.', [[{ i: '0' }, undefined]]), '# HELP a A.\n# TYPE a gauge\n');
});

test('backslash, line feed and quote in a label are escaped', () => {
  const lines = gauge('a', 'A.', [[{ path: 'a\\b\n"c"\\n' }, 1]]).split('\n');
  assert.is(lines[2], 'a{path="a\\\\b\\n\\"c\\"\\\\n"} 1');
});

test('values have the form that Go parses', () => {
  const values = [0.25, 1e21, 1e-7, Infinity, NaN].map((value) => gauge('a', 'A.', value).split('\n')[2]);
  assert.equal(values, ['a 0.25', 'a 1e+21', 'a 1e-7', 'a +Inf', 'a NaN']);
});

test('a bucket counts durations up to its bound, and those of all smaller buckets', () => {
  const decrypts = new Durations({ method: 'Decrypt' }, [0.1, 0.25]);
  for (const seconds of [0.05, 0.1, 0.2, 4]) decrypts.observe(seconds);
  const encrypts = new Durations({ method: 'Encrypt' }, [1]);
  assert.equal(histogram('took_seconds', 'Took.', [decrypts, encrypts]).split('\n'), [
    '# HELP took_seconds Took.',
    '# TYPE took_seconds histogram',
    'took_seconds_bucket{method="Decrypt",le="0.1"} 2',
    'took_seconds_bucket{method="Decrypt",le="0.25"} 3',
    'took_seconds_bucket{method="Decrypt",le="+Inf"} 4',
    'took_seconds_sum{method="Decrypt"} 4.35',
    'took_seconds_count{method="Decrypt"} 4',
    'took_seconds_bucket{method="Encrypt",le="1"} 0',
    'took_seconds_bucket{method="Encrypt",le="+Inf"} 0',
    'took_seconds_sum{method="Encrypt"} 0',
    'took_seconds_count{method="Encrypt"} 0',
    '',
  ]);
});

test.run();
