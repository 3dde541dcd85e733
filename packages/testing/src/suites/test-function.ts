/** What the suites need of a test framework: uvu's `test` and `suite(...)` fit. */
export type TestFunction = (name: string, run: () => Promise<void>) => void;
