// Prints the crossover as JSON. Each kind of processor needs a process of its own, because OpenSSL detects instructions only once.
import { crossover } from './pool-grid.ts';

const [threads, rounds] = process.argv.slice(2).map(Number);
const found = [];
for (let count = 1; count <= threads!; count *= 2) found.push(...(await crossover(count, rounds!)));
console.log(JSON.stringify(found));
