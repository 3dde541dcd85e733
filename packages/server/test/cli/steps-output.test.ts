import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { UsageError } from '../../src/cli/exit-codes.ts';
import { createProgram } from '../../src/cli/program.ts';
import { newProblems } from '../../src/cli/steps-output.ts';

test('a problem is said once for as long as it lasts, and again when it comes back', () => {
  const said: string[] = [];
  const say = newProblems((problem) => said.push(problem));
  say(['a', 'a', 'b']);
  say(['b', 'a']);
  say(['c', 'b']);
  say(['a', 'b']);
  assert.equal(said, ['a', 'b', 'c', 'a']);
});

for (const command of ['rotate', 'migrate']) {
  test(`${command}: no environment shortens --settle`, () => {
    process.env['TEAPOT_TEST_SETTLE'] = '1';
    const { options } = createProgram().commands.find((one) => one.name() === command)!;
    const parse = options.find((one) => one.long === '--settle')!.parseArg as (text: string) => unknown;
    assert.throws(
      () => parse('2m'),
      (error: unknown) => error instanceof UsageError,
    );
    assert.is(parse('3m'), 180_000);
  });
}

test.run();
