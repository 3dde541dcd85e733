import { test } from 'uvu';
import * as assert from 'uvu/assert';
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

test.run();
