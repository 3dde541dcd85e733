import { MessageCodec } from './message-codec.ts';

/**
 * The messages of both APIs (k8s.io/kms/apis/v2/api.proto and v1beta1/api.proto). `packages/server/proto` has the same as .proto
 * files, for clients such as grpcurl; a test compares the two.
 */
export const v2 = {
  StatusRequest: new MessageCodec({}),
  StatusResponse: new MessageCodec({ version: [1, 'string'], healthz: [2, 'string'], key_id: [3, 'string'] }),
  EncryptRequest: new MessageCodec({ plaintext: [1, 'bytes'], uid: [2, 'string'] }),
  EncryptResponse: new MessageCodec({ ciphertext: [1, 'bytes'], key_id: [2, 'string'], annotations: [3, 'map'] }),
  DecryptRequest: new MessageCodec({
    ciphertext: [1, 'bytes'],
    uid: [2, 'string'],
    key_id: [3, 'string'],
    annotations: [4, 'map'],
  }),
  DecryptResponse: new MessageCodec({ plaintext: [1, 'bytes'] }),
};

export const v1beta1 = {
  VersionRequest: new MessageCodec({ version: [1, 'string'] }),
  VersionResponse: new MessageCodec({
    version: [1, 'string'],
    runtime_name: [2, 'string'],
    runtime_version: [3, 'string'],
  }),
  EncryptRequest: new MessageCodec({ version: [1, 'string'], plain: [2, 'bytes'] }),
  EncryptResponse: new MessageCodec({ cipher: [1, 'bytes'] }),
  DecryptRequest: new MessageCodec({ version: [1, 'string'], cipher: [2, 'bytes'] }),
  DecryptResponse: new MessageCodec({ plain: [1, 'bytes'] }),
};

/** The messages of our own service for `teapot-kms status` and `doctor`. */
export const inspection = {
  DescribeRequest: new MessageCodec({}),
  DescribeResponse: new MessageCodec({ json: [1, 'string'] }),
  ReportRequest: new MessageCodec({ nonce: [1, 'string'] }),
  ReportResponse: new MessageCodec({ json: [1, 'string'] }),
};
