// Fifty instances in one process; `npm run instances` does it with five hundred.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { DEFAULT_KUBERNETES, findBinaries, registerUnlessMissing } from '../src/binaries.ts';
import { runManyInstances } from '../src/many-instances.ts';

const COUNT = 50;
const test = suite('many instances');

test('fifty instances, each with a Secret of its own, share one connection, and every one answers', async () => {
  const { answering, apiConnections, residentMiB, fileDescriptors } = await runManyInstances(COUNT);
  assert.is(answering, COUNT);
  assert.is(apiConnections, 1);
  assert.ok(residentMiB < 400, `${residentMiB} MiB`);
  assert.ok(fileDescriptors < 2 * COUNT + 50, `${fileDescriptors} file descriptors`);
});

registerUnlessMissing('many instances', () => {
  findBinaries(DEFAULT_KUBERNETES);
  test.run();
});
