/** Returns the path of a socket that may have the form of kube-apiserver's `endpoint`: `unix:///run/kms.sock`. */
export function socketPathOf(socket: string): string {
  return socket.replace(/^unix:\/\//, '');
}
