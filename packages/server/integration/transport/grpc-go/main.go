// Command grpc-client calls /test/Echo and /test/Hang on a Unix socket, as kube-apiserver's grpc-go of its version does.
package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

// raw passes messages through: the tests need no protobuf.
type raw struct{}

func (raw) Marshal(v interface{}) ([]byte, error)      { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v interface{}) error { *v.(*[]byte) = append([]byte(nil), data...); return nil }
func (raw) Name() string                               { return "raw" }
func (raw) String() string                             { return "raw" }

type outcome struct {
	OK     int            `json:"ok"`
	Wrong  int            `json:"wrong"`
	Failed map[string]int `json:"failed"`
}

func main() {
	socket := flag.String("socket", "", "path of the socket")
	method := flag.String("method", "/test/Echo", "what is called")
	calls := flag.Int("calls", 1, "calls in all; 0: until stdin ends")
	parallel := flag.Int("parallel", 1, "calls at a time")
	size := flag.Int("size", 32, "bytes of each message, 4 at least")
	timeout := flag.Duration("timeout", 10*time.Second, "deadline of each call")
	authority := flag.String("authority", "", "the :authority; the version's own by default")
	flag.Parse()

	options := []grpc.DialOption{
		grpc.WithInsecure(), //nolint
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true), grpc.ForceCodec(raw{})),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", *socket)
		}),
	}
	if *authority != "" {
		options = append(options, grpc.WithAuthority(*authority))
	}
	// The target is the bare path, as in kube-apiserver's KMS v1 client.
	connection, err := grpc.Dial(*socket, options...) //nolint
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer connection.Close()

	result := outcome{Failed: map[string]int{}}
	var lock sync.Mutex
	var group sync.WaitGroup
	next := make(chan int)
	for i := 0; i < *parallel; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for n := range next {
				request := bytes.Repeat([]byte{byte(n)}, *size)
				binary.BigEndian.PutUint32(request, uint32(n)) // Calls begin in the order of their numbers.
				var answer []byte
				ctx, cancel := context.WithTimeout(context.Background(), *timeout)
				err := connection.Invoke(ctx, *method, &request, &answer)
				cancel()
				lock.Lock()
				switch {
				case err != nil:
					result.Failed[status.Code(err).String()]++
				case !bytes.Equal(request, answer):
					result.Wrong++
				default:
					result.OK++
				}
				lock.Unlock()
			}
		}()
	}
	stopped := make(chan struct{})
	if *calls == 0 {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			close(stopped)
		}()
	}
	for n, stop := 0, false; !stop && (*calls == 0 || n < *calls); n++ {
		select {
		case next <- n:
		case <-stopped:
			stop = true
		}
	}
	close(next)
	group.Wait()
	_ = json.NewEncoder(os.Stdout).Encode(result)
}
