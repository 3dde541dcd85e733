import { KmsError, unavailable } from '../../errors.ts';
import { Keyset } from '../../keyset/keyset.ts';
import type { KeysetSource, LoadContext } from '../../keyset/keyset-source.ts';
import { MANIFEST_NAME, parseManifest } from '../../keyset/manifest.ts';
import { RESTORE_KEYSET, RESTORE_LOST_MANIFEST } from '../../keyset/restoring.ts';
import type { Finding } from '../../finding.ts';
import type { Lease } from '../../util/shared-resources.ts';
import type { ApiAnswer, ApiServer } from './api-server.ts';
import { examineSecret } from './examine.ts';
import { refuseOwnCluster } from './guard.ts';
import { parseSecret, parseStatus } from './protobuf.ts';
import type { SecretObject } from './protobuf.ts';
import { GRANT_ROLE, RENEW_CREDENTIALS } from './remedies.ts';
import { SecretAdmin } from './secret-admin.ts';
import { blobOf } from './secret-blob.ts';
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
  readonly #closed = new AbortController();
  /** What was loaded last, and from where. Once there was something, a Secret that is not there has been lost. */
  #loaded: { readonly version: string; readonly server: string } | undefined;

  /** @param served - which cluster the instance serves, see {@link refuseOwnCluster} */
  constructor(secret: SecretName, served: string | undefined, lease: Lease<ApiServer>) {
    this.uri = uriOf(secret);
    this.#secret = secret;
    this.#served = served;
    this.#lease = lease;
    this.admin = new SecretAdmin(secret, lease);
  }

  async load(context: LoadContext): Promise<Keyset> {
    const { signal } = context;
    const api = this.#lease.resource;
    refuseOwnCluster(this.#served, (await api.credentials(signal)).ca);
    const answer = await api.request(getSecret(this.#secret, signal));
    if (answer.status !== 200) throw await this.#refusal(answer, signal);
    const secret = parseSecret(answer.body, this.#secret);
    try {
      // The credentials may have been read again meanwhile.
      refuseOwnCluster(this.#served, answer.credentials.ca);
      const keyset = await this.#keysetOf(secret, context);
      this.#loaded = { version: secret.resourceVersion, server: answer.credentials.server.href };
      return keyset;
    } finally {
      secret.wipe();
    }
  }

  watch(onChange: () => void): () => void {
    const stopped = new AbortController();
    const onVersion = (version: string | undefined): void => {
      if (version !== this.#loaded?.version) onChange();
    };
    const signal = AbortSignal.any([stopped.signal, this.#closed.signal]);
    void watchSecret(this.#lease.resource, this.#secret, onVersion, signal);
    return () => stopped.abort();
  }

  examine({ signal }: LoadContext): Promise<Finding[]> {
    return examineSecret(this.#lease.resource, this.#secret, this.#served, signal);
  }

  close(): Promise<void> {
    this.#closed.abort();
    this.admin.close();
    return this.#lease.release();
  }

  #keysetOf({ data }: SecretObject, context: LoadContext): Promise<Keyset> {
    const manifest = data.get(MANIFEST_NAME);
    if (!manifest) {
      const hasKeys = [...data.keys()].some((name) => name.endsWith('.key'));
      const text = `${this.uri} has ${hasKeys ? 'keys, and ' : ''}no ${MANIFEST_NAME} in its data`;
      throw this.#absent(text, hasKeys ? RESTORE_LOST_MANIFEST : RESTORE_KEYSET);
    }
    const stored = parseManifest(manifest.toString('utf8'), `${this.uri} ${MANIFEST_NAME}`);
    return Keyset.load(context, stored, (keyId) => Promise.resolve(blobOf(data, keyId, this.#secret)));
  }

  /** A loss is certain only if the API server that the keyset came from says so, and says that it is ready (design D3, D18). */
  async #refusal({ status, body, credentials }: ApiAnswer, signal: AbortSignal): Promise<KmsError> {
    const server = credentials.server.href;
    const { reason, message } = parseStatus(body) ?? {};
    const text = `${this.uri}: ${message ?? `the API server ${server} answers with HTTP status ${status}`}`;
    const definite = (status === 404 && reason === 'NotFound') || (status === 403 && reason === 'Forbidden');
    if (status === 401) {
      return unavailable(text, { remedy: RENEW_CREDENTIALS });
    }
    if (!definite) return unavailable(text);
    if (this.#loaded && this.#loaded.server !== server) {
      const remedy = `correct the kubeconfig; if ${server} is the right one, ${RESTORE_KEYSET}`;
      return unavailable(`${text} (${server}; the keyset came from ${this.#loaded.server})`, { remedy });
    }
    const remedy = status === 404 ? RESTORE_KEYSET : GRANT_ROLE;
    if (this.#loaded && (await this.#isReady(signal))) return new KmsError('ERR_KMS_KEY_GONE', text, { remedy });
    return status === 404 ? this.#absent(text, remedy) : unavailable(text, { remedy });
  }

  /** While an API server starts, it knows no roles yet and forbids everything. */
  async #isReady(signal: AbortSignal): Promise<boolean> {
    const { status } = await this.#lease.resource.request({ method: 'GET', path: '/readyz', accept: '*/*', signal });
    return status === 200;
  }

  #absent(text: string, remedy: string): KmsError {
    const options = { remedy };
    return this.#loaded ? new KmsError('ERR_KMS_KEYSET_INVALID', text, options) : unavailable(text, options);
  }
}
