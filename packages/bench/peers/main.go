// Command teapot-bench has two parts. serve runs KMS servers that work like other plugins, to compare ours with. The others are
// clients: load loads all of them and is never the bottleneck, flood misuses a server, and neighbours are tenants beside it.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
)

// peers are the servers by name. pkcs11 is included only if there is a C compiler at build time.
var peers = map[string]func(flags *flag.FlagSet, args []string) (kms, error){
	"reference": newReference,
	"barbican":  newBarbican,
}

// commands are the clients by name.
var commands = map[string]func(args []string) error{
	"load": loadCommand, "flood": floodCommand, "neighbours": neighboursCommand,
}

func main() {
	if err := command(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "teapot-bench: %v\n", err)
		os.Exit(1)
	}
}

func command(args []string) error {
	if len(args) >= 1 && commands[args[0]] != nil {
		return commands[args[0]](args[1:])
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
	return fmt.Errorf("usage: teapot-bench version | load --plan FILE | flood ... | neighbours ... | serve %s --socket PATH ...", strings.Join(names, "|"))
}
