// Command teapot-bench is what the benchmarks compare the plugin with, and what loads both: KMS servers that do what other plugins
// do for a call (serve), and a client that is never the bottleneck (load).
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
)

// peers that can be served, by name; pkcs11 only where there was a C compiler to build it with.
var peers = map[string]func(flags *flag.FlagSet, args []string) (kms, error){
	"reference": newReference,
	"barbican":  newBarbican,
}

func main() {
	if err := command(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "teapot-bench: %v\n", err)
		os.Exit(1)
	}
}

func command(args []string) error {
	if len(args) >= 1 && args[0] == "load" {
		return loadCommand(args[1:])
	}
	if len(args) >= 1 && args[0] == "version" {
		fmt.Println(runtime.Version())
		return nil
	}
	if len(args) >= 2 && args[0] == "serve" && peers[args[1]] != nil {
		flags := flag.NewFlagSet("serve "+args[1], flag.ContinueOnError)
		socket := flags.String("socket", "", "path of the Unix socket")
		peer, err := peers[args[1]](flags, args[2:])
		if err != nil {
			return err
		}
		return serve(*socket, peer)
	}
	names := make([]string, 0, len(peers))
	for name := range peers {
		names = append(names, name)
	}
	slices.Sort(names)
	return fmt.Errorf("usage: teapot-bench version | load --plan FILE | serve %s --socket PATH ...", strings.Join(names, "|"))
}
