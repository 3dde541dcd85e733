// Measures the cases named, each as a ratio or in bytes, and prints them as JSON. A process of its own each time: how it was compiled and
// where its objects lie stays the same as long as it lives, so that measuring again in the same one would only say the same again.
import { microCases } from '../micro/cases.ts';
import { interleave, ratios } from '../micro/interleave.ts';
import { median } from '../statistics.ts';
import { bytesPerCall } from './allocations.ts';

const OPTIONS = { rounds: 9, timeMs: 15 };

const [what, ...names] = process.argv.slice(2);
const { bases, comparisons, close } = await microCases();
const chosen = comparisons.filter(({ name }) => names.includes(name));
console.log(JSON.stringify(Object.fromEntries(what === 'ratio' ? measureRatios() : measureBytes())));
await close();

function measureRatios(): [string, number][] {
  const samples = interleave([...bases, ...chosen], OPTIONS);
  return chosen.map(({ name, base }) => [name, median(ratios(samples.get(name)!, samples.get(base)!))]);
}

function measureBytes(): [string, number][] {
  return chosen.map((one) => [one.name, bytesPerCall(one)]);
}
