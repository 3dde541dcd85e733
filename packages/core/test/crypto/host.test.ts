import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { hasAes } from '../../src/crypto/engine.ts';

for (const [what, cpuInfo, expected] of [
  ['x86 with them', 'model\t: 17\nflags\t\t: fpu sse2 pclmulqdq aes xsave avx\n', true],
  ['x86 without', 'flags\t\t: fpu sse2 pclmulqdq vaes xsave avx\nmodel name\t: aes\n', false],
  ['ARM with them', 'Features\t: fp asimd evtstrm aes\n', true],
  ['a Raspberry Pi 4', 'Features\t: fp asimd evtstrm crc32 cpuid\n', false],
  ['what has no such line', '', true],
] as const) {
  test(`AES instructions: ${what}`, () => assert.is(hasAes(cpuInfo), expected));
}

test.run();
