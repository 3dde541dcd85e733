package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	v2 "k8s.io/kms/apis/v2"
)

// neighbours are quiet tenants: grpc-go clients with one connection each, as in a kube-apiserver.
type neighbours struct {
	mu        sync.Mutex
	latencies *hdrhistogram.Histogram
	calls     int64
	failed    map[string]int64
}

// neighboursResult is the output. src/load/floods.ts declares the same type.
type neighboursResult struct {
	Calls int64 `json:"calls"`
	// Failed are the failed calls by gRPC status. Their latency counts too.
	Failed    map[string]int64 `json:"failed"`
	LatencyUs percentiles      `json:"latencyUs"`
}

const (
	// callTimeout is the default timeout of a provider in kube-apiserver.
	callTimeout  = 3 * time.Second
	setUpTimeout = 30 * time.Second
)

func neighboursCommand(args []string) error {
	flags := flag.NewFlagSet("neighbours", flag.ContinueOnError)
	sockets := flags.String("sockets", "", "paths of the neighbours' sockets, with commas between them")
	every := flags.Duration("every", 50*time.Millisecond, "time between two calls of a neighbour")
	length := flags.Duration("for", time.Second, "how long they call")
	timeout := flags.Duration("timeout", callTimeout, "deadline of each call")
	if err := flags.Parse(args); err != nil {
		return err
	}
	n := &neighbours{failed: map[string]int64{}, latencies: hdrhistogram.New(int64(shortest), int64(longest), digits)}
	var calls []func(i int) error
	for _, socket := range strings.Split(*sockets, ",") {
		call, err := neighbour(socket, *timeout)
		if err != nil {
			return fmt.Errorf("%s: %w", socket, err)
		}
		calls = append(calls, call)
	}
	var group sync.WaitGroup
	origin := time.Now()
	for k, call := range calls {
		// Neighbours do not call at the same time.
		first := *every * time.Duration(k) / time.Duration(len(calls))
		group.Go(func() {
			for i := 0; first+*every*time.Duration(i) < *length; i++ {
				time.Sleep(time.Until(origin.Add(first + *every*time.Duration(i))))
				// The next call does not wait for this one, so a stall counts in all calls that it delays.
				group.Go(func() { n.record(time.Now(), call(i)) })
			}
		})
	}
	group.Wait()
	at := func(percentile float64) float64 { return float64(n.latencies.ValueAtPercentile(percentile)) / 1e3 }
	return json.NewEncoder(os.Stdout).Encode(neighboursResult{n.calls, n.failed, percentiles{
		P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), Max: at(100), Mean: n.latencies.Mean() / 1e3,
	}})
}

// neighbour connects, and returns its calls: Status and Decrypt by turns.
func neighbour(socket string, timeout time.Duration) (func(i int) error, error) {
	connection, err := connectTo(socket)
	if err != nil {
		return nil, err
	}
	client := v2.NewKeyManagementServiceClient(connection)
	plaintext := bytes.Repeat([]byte{7}, 32)
	request, err := sealedRequest(client, plaintext)
	if err != nil {
		return nil, err
	}
	return func(i int) error {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		if i%2 == 0 {
			_, err := client.Status(ctx, &v2.StatusRequest{})
			return err
		}
		answer, err := client.Decrypt(ctx, request)
		if err == nil && !bytes.Equal(answer.Plaintext, plaintext) {
			return fmt.Errorf("a wrong plaintext")
		}
		return err
	}, nil
}

func connectTo(socket string) (*grpc.ClientConn, error) {
	return grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithAuthority("localhost"), grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
}

// sealedRequest is a Decrypt of what the server itself has encrypted.
func sealedRequest(client v2.KeyManagementServiceClient, plaintext []byte) (*v2.DecryptRequest, error) {
	ctx, cancel := context.WithTimeout(context.Background(), setUpTimeout)
	defer cancel()
	sealed, err := client.Encrypt(ctx, &v2.EncryptRequest{Plaintext: plaintext, Uid: "flood"})
	if err != nil {
		return nil, err
	}
	return &v2.DecryptRequest{
		Ciphertext: sealed.Ciphertext, KeyId: sealed.KeyId, Annotations: sealed.Annotations, Uid: "flood",
	}, nil
}

func (n *neighbours) record(start time.Time, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls++
	if err != nil {
		n.failed[status.Code(err).String()]++
	}
	_ = n.latencies.RecordValue(int64(min(max(time.Since(start), shortest), longest)))
}
