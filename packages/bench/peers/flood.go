package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
)

// flood is a tenant that sends as fast as the server reads, on connections that it opens again when the server ends them.
type flood struct {
	kind
	socket   string
	messages messages
	until    time.Time
	counts   floodCounts
}

// floodCounts is the output. src/load/floods.ts declares the same type.
type floodCounts struct {
	Connections atomic.Int64
	// Refused are connections that could not be opened.
	Refused atomic.Int64
	Streams atomic.Int64
	Bytes   atomic.Int64
	// Answers are streams that the server has ended, with a status or a reset.
	Answers atomic.Int64
	// GoAways are the connections that the server has ended with a reason.
	GoAways atomic.Int64
}

func (c *floodCounts) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]int64{
		"connections": c.Connections.Load(), "refused": c.Refused.Load(), "streams": c.Streams.Load(),
		"bytes": c.Bytes.Load(), "answers": c.Answers.Load(), "goAways": c.GoAways.Load(),
	})
}

const (
	// batch is how many bytes leave in one write.
	batch = 32 * 1024
	// lastStream is below the largest stream id, after which a client must open a new connection.
	lastStream   = 1<<31 - 1_000
	refusedPause = 10 * time.Millisecond
	// hugeWindow takes all answers, so that the client need not return credit.
	hugeWindow = 1 << 30
)

func floodCommand(args []string) error {
	flags := flag.NewFlagSet("flood", flag.ContinueOnError)
	name := flags.String("kind", "", "what is sent")
	socket := flags.String("socket", "", "path of the socket")
	connections := flags.Int("connections", 0, "open connections, if not the usual number of this kind")
	length := flags.Duration("for", time.Second, "how long")
	if err := flags.Parse(args); err != nil {
		return err
	}
	of, ok := floods[*name]
	if !ok {
		names := make([]string, 0, len(floods))
		for name := range floods {
			names = append(names, name)
		}
		slices.Sort(names)
		return fmt.Errorf("usage: teapot-bench flood --socket PATH --for TIME --kind %s", strings.Join(names, "|"))
	}
	made, err := newMessages(*socket)
	if err != nil {
		return fmt.Errorf("%s: %w", *socket, err)
	}
	f := &flood{kind: of, socket: *socket, messages: made, until: time.Now().Add(*length)}
	fmt.Println("flooding")
	var group sync.WaitGroup
	if *connections > 0 {
		f.connections = *connections
	}
	for range max(1, f.connections) {
		group.Go(func() {
			for time.Now().Before(f.until) {
				if err := f.connect(); err != nil {
					f.counts.Refused.Add(1)
					time.Sleep(refusedPause)
				}
			}
		})
	}
	group.Wait()
	return json.NewEncoder(os.Stdout).Encode(&f.counts)
}

// connect floods one connection until it ends. The error says that it could not be opened.
func (f *flood) connect() error {
	socket, err := net.Dial("unix", f.socket)
	if err != nil {
		return err
	}
	defer socket.Close()
	f.counts.Connections.Add(1)
	_ = socket.SetDeadline(f.until)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f.read(socket)
	}()
	f.write(socket)
	if !f.hangsUp {
		<-ended
	}
	return nil
}

// write sends until the server ends the connection, or the time is over.
func (f *flood) write(socket net.Conn) {
	if f.prefaceBytes > 0 {
		_, _ = socket.Write([]byte(http2.ClientPreface[:f.prefaceBytes]))
		return
	}
	out := newSender(f.fields)
	out.buffer.WriteString(http2.ClientPreface)
	_ = out.WriteSettings(f.settings...)
	_ = out.WriteWindowUpdate(0, hugeWindow)
	for id := uint32(1); id < lastStream; {
		first := id
		for id == first || (out.buffer.Len() < batch && !f.hangsUp) {
			f.send(out, id, f.messages)
			id += 2
		}
		f.counts.Streams.Add(int64(id-first) / 2)
		f.counts.Bytes.Add(int64(out.buffer.Len()))
		if _, err := socket.Write(out.buffer.Bytes()); err != nil || f.hangsUp {
			return
		}
		out.buffer.Reset()
	}
}

// read counts what the server answers, until it ends the connection.
func (f *flood) read(socket net.Conn) {
	// The writer may wait for a server that reads no more.
	defer socket.Close()
	framer := http2.NewFramer(nil, bufio.NewReaderSize(socket, readSize))
	framer.SetReuseFrames()
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.HeadersFrame:
			if frame.StreamEnded() {
				f.counts.Answers.Add(1)
			}
		case *http2.DataFrame:
			if frame.StreamEnded() {
				f.counts.Answers.Add(1)
			}
		case *http2.RSTStreamFrame:
			if frame.ErrCode != http2.ErrCodeNo {
				f.counts.Answers.Add(1)
			}
		case *http2.GoAwayFrame:
			f.counts.GoAways.Add(1)
		}
	}
}
