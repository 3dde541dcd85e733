import { Session } from 'node:inspector';
import type { Profiler } from 'node:inspector';

/**
 * Runs `work` and returns how often blocks of code ran meanwhile: of our own source and of the packages that it uses, without Node's own. The
 * count does not depend on the machine. It does not see what a regular expression or another built-in function does.
 */
export function countedOperations(work: () => void): number {
  const session = new Session();
  session.connect();
  const post = (method: string, parameters?: object): unknown => {
    let answer: unknown;
    // In this thread, the callback runs before `post` returns.
    session.post(method, parameters, (error: Error | null, result?: unknown) => {
      if (error) throw error;
      answer = result;
    });
    return answer;
  };
  post('Profiler.enable');
  post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  work();
  const { result } = post('Profiler.takePreciseCoverage') as Profiler.TakePreciseCoverageReturnType;
  post('Profiler.stopPreciseCoverage');
  session.disconnect();
  return result
    .filter(({ url }) => url.startsWith('file:'))
    .flatMap(({ functions }) => functions.flatMap(({ ranges }) => ranges))
    .reduce((sum, { count }) => sum + count, 0);
}
