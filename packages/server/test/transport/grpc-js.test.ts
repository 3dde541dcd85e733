import { test } from 'uvu';
import { transports } from '../../src/transport/index.ts';
import { transportSuite } from './transport-suite.ts';

transportSuite(test, 'grpc-js', transports['grpc-js']);
test.run();
