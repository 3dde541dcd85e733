// A process of its own for each processor that is measured, as OpenSSL looks at its instructions once: prints the crossover as JSON.
import { crossover } from './pool-grid.ts';

const [threads, rounds] = process.argv.slice(2).map(Number);
const found = [];
for (let count = 1; count <= threads!; count *= 2) found.push(...(await crossover(count, rounds!)));
console.log(JSON.stringify(found));
