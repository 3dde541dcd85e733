import { suite } from 'uvu';
import { H2Transport } from '../../src/transport/h2/transport.ts';
import { transportSuite } from './transport-suite.ts';

const test = suite('h2');
transportSuite(test, 'h2', (routes) => new H2Transport(routes));
test.run();
