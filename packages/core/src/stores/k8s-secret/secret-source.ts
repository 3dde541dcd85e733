import { KEY_BYTES } from '../../envelope/limits.ts';
import { KmsError } from '../../errors.ts';
import { wrongBlobSize } from '../../keyset/blob.ts';
import { Keyset } from '../../keyset/keyset.ts';
import type { KeysetSource, LoadContext } from '../../keyset/keyset-source.ts';
import { blobName, MANIFEST_NAME, parseManifest } from '../../keyset/manifest.ts';
import type { Finding } from '../../finding.ts';
import { SecretBytes } from '../../util/secret-bytes.ts';
import type { Lease } from '../../util/shared-resources.ts';
import type { ApiAnswer, ApiServer } from './api-server.ts';
import { examineSecret } from './examine.ts';
import { refuseOwnCluster } from './guard.ts';
import { parseSecret, parseStatus } from './protobuf.ts';
import type { SecretObject } from './protobuf.ts';
import { SecretAdmin } from './secret-admin.ts';
import { getSecret, uriOf } from './secret-name.ts';
import type { SecretName } from './secret-name.ts';
import { watchSecret } from './secret-watch.ts';

/** A keyset in the data of one Secret (design D11), read and watched through its API server. */
export class SecretSource implements KeysetSource {
  readonly uri: string;
  readonly admin: SecretAdmin;
  readonly #secret: SecretName;
  readonly #served: string | undefined;
  readonly #lease: Lease<ApiServer>;
  readonly #watches = new Set<() => void>();
  /** The version that was loaded last; once there was one, a Secret that is not there has been lost. */
  #loaded: string | undefined;

  /** @param served - which cluster the instance serves, see {@link refuseOwnCluster} */
  constructor(secret: SecretName, served: string | undefined, lease: Lease<ApiServer>) {
    this.uri = uriOf(secret);
    this.#secret = secret;
    this.#served = served;
    this.#lease = lease;
    this.admin = new SecretAdmin(secret, lease);
  }

  async load({ signal }: LoadContext): Promise<Keyset> {
    const api = this.#lease.resource;
    refuseOwnCluster(this.#served, (await api.credentials()).ca);
    const answer = await api.request(getSecret(this.#secret, signal));
    if (answer.status !== 200) throw await this.#refusal(answer, signal);
    const secret = parseSecret(answer.body);
    try {
      const keyset = await this.#keysetOf(secret);
      this.#loaded = secret.resourceVersion;
      return keyset;
    } finally {
      secret.wipe();
    }
  }

  watch(onChange: () => void): () => void {
    const stop = watchSecret(this.#lease.resource, this.#secret, (version) => {
      if (version === undefined || version !== this.#loaded) onChange();
    });
    this.#watches.add(stop);
    return () => {
      stop();
      this.#watches.delete(stop);
    };
  }

  examine({ signal }: LoadContext): Promise<Finding[]> {
    return examineSecret(this.#lease.resource, this.#secret, this.#served, signal);
  }

  close(): Promise<void> {
    for (const stop of this.#watches) stop();
    this.#watches.clear();
    this.admin.close();
    return this.#lease.release();
  }

  #keysetOf({ data }: SecretObject): Promise<Keyset> {
    const manifest = data.get(MANIFEST_NAME);
    if (!manifest) throw this.#absent(`${this.uri} has no ${MANIFEST_NAME} in its data`);
    return Keyset.load(parseManifest(manifest.toString('utf8'), `${this.uri} ${MANIFEST_NAME}`), (keyId) => {
      const where = `${this.uri} ${blobName(keyId)}`;
      const blob = data.get(blobName(keyId));
      if (!blob) throw new KmsError('ERR_KMS_KEYSET_INVALID', `${where} is missing`);
      if (blob.length !== KEY_BYTES) throw wrongBlobSize(where, blob.length);
      return Promise.resolve(new SecretBytes(Buffer.from(blob)));
    });
  }

  /** Certain is only what an API server says of itself, when it says as well that it is ready (design D3). */
  async #refusal({ status, body }: ApiAnswer, signal: AbortSignal): Promise<KmsError> {
    const { reason, message } = parseStatus(body) ?? {};
    const text = `${this.uri}: ${message?.slice(0, 300) ?? `the API server answers with HTTP status ${status}`}`;
    const definite = (status === 404 && reason === 'NotFound') || (status === 403 && reason === 'Forbidden');
    if (!definite) return new KmsError('ERR_KMS_STORE_UNAVAILABLE', text);
    if (this.#loaded !== undefined && (await this.#isReady(signal))) return new KmsError('ERR_KMS_KEY_GONE', text);
    return status === 404 ? this.#absent(text) : new KmsError('ERR_KMS_STORE_UNAVAILABLE', text);
  }

  /** While it starts, an API server knows no roles yet and forbids everything. */
  async #isReady(signal: AbortSignal): Promise<boolean> {
    const { status } = await this.#lease.resource.request({ method: 'GET', path: '/readyz', accept: '*/*', signal });
    return status === 200;
  }

  #absent(text: string): KmsError {
    if (this.#loaded !== undefined) return new KmsError('ERR_KMS_KEYSET_INVALID', text);
    return new KmsError('ERR_KMS_STORE_UNAVAILABLE', `${text}; run: teapot-kms keys generate --uri ${this.uri}`);
  }
}
