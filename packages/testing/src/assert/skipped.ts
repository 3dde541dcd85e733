/** Says aloud, for the test runner to count, that a fixture lacks what a test of a suite needs. */
export function skipped(hook: string): void {
  process.stdout.write(`\nSKIPPED a test of a shared suite: give the fixture ${hook}()\n`);
}
