/** 403: the API server recognises the caller. */
export const GRANT_ROLE =
  'give the plugin a Role with the verbs get and watch on this one Secret (docs/tenant-control-planes.md)';

/** 401: the API server does not recognise the caller, so no Role can help. */
export const RENEW_CREDENTIALS =
  'renew the token or the client certificate in the kubeconfig: it has expired, or is not of this cluster. A Role does not help';
