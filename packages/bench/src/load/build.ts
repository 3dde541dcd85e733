/** Builds the Go programs of packages/bench/peers into the cache, unless they are there. */
import { missingTeapotBench, teapotBench } from './teapot-bench.ts';

const missing = missingTeapotBench();
console.log(missing ?? teapotBench());
