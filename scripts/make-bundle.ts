/** The last part of `npm run build`: writes the bundle, as packages contain it, for the tests, the benchmarks and `npm start`. */
import { rmSync, mkdirSync } from 'node:fs';
import { BUNDLE } from '@teapot-kms/testing/daemons';
import { writeBundle } from './package/bundle.ts';

rmSync(BUNDLE, { recursive: true, force: true });
mkdirSync(BUNDLE, { recursive: true });
await writeBundle(BUNDLE);
