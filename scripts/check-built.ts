/** Fails when a package's `dist` is missing or older than its sources. */
import { launcher } from '@teapot-kms/testing/daemons';

try {
  launcher();
} catch (error) {
  console.error((error as Error).message);
  process.exitCode = 1;
}
