/** Whether what takes minutes was asked for: real waits, all versions, long loads and fuzzing (`npm run test:full`). */
export const fullRun = process.env['TEAPOT_TEST_FULL'] === '1';
