// Command kube-apiserver is the upstream server, built from the Go module proxy: k8s.io/kubernetes replaces its
// staging modules by local folders, which a dependency's go.mod cannot do, so the modfiles here replace each of
// them by its published version. One modfile a Kubernetes version; see ../src/kube-apiserver-build.ts.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	os.Exit(cli.Run(app.NewAPIServerCommand()))
}
