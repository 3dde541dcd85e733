package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// connection is one HTTP/2 connection of a kube-apiserver. Its goroutine reads frames. Before it waits for the server, it writes
// all pending frames. In an open loop the pacer writes too.
type connection struct {
	run    *run
	target *target
	socket net.Conn
	reader *http2.Framer
	writer *http2.Framer
	decode *hpack.Decoder

	mu      sync.Mutex
	out     bytes.Buffer
	headers *headers
	open    map[uint32]*call
	free    []*call
	// due are the intended starts of calls of an open loop that are not sent yet.
	due        []time.Duration
	nextStream uint32
	maxOpen    int
	// window is how many bytes the server still accepts; credit is how many received bytes are not given back yet.
	window int64
	credit uint32
	// The status fields of the header block that is being decoded.
	httpStatus, grpcStatus string
}

// call is a call that waits for its answer.
type call struct {
	index int
	start time.Duration
	body  []byte
}

const (
	initialWindow = 65_535
	// creditAt is when received bytes are given back: at a quarter of the window, as in grpc-go.
	creditAt  = initialWindow / 4
	tableSize = 4_096
	readSize  = 64 * 1024
	noStatus  = "no status"
)

func dial(r *run, t *target) (*connection, error) {
	socket, err := net.Dial("unix", t.Socket)
	if err != nil {
		return nil, err
	}
	c := &connection{
		run: r, target: t, socket: socket, headers: newHeaders(r.plan.Method), open: map[uint32]*call{},
		nextStream: 1, maxOpen: t.InFlight, window: initialWindow,
	}
	c.decode = hpack.NewDecoder(tableSize, func(field hpack.HeaderField) {
		switch field.Name {
		case ":status":
			c.httpStatus = field.Value
		case "grpc-status":
			c.grpcStatus = field.Value
		}
	})
	c.reader = http2.NewFramer(nil, bufio.NewReaderSize(c, readSize))
	c.reader.SetReuseFrames()
	c.writer = http2.NewFramer(&c.out, nil)
	c.out.WriteString(http2.ClientPreface)
	return c, errors.Join(c.writer.WriteSettings(), c.handshake())
}

// handshake waits for the server's settings, as grpc-go does.
func (c *connection) handshake() error {
	frame, err := c.reader.ReadFrame()
	if err != nil {
		return err
	}
	settings, ok := frame.(*http2.SettingsFrame)
	if !ok || settings.IsAck() {
		return errors.New("the first frame of the server is not SETTINGS")
	}
	return c.handle(settings)
}

// Read reads for the framer. The framer calls it when it has handled all received bytes.
func (c *connection) Read(p []byte) (int, error) {
	c.mu.Lock()
	err := c.flush()
	c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return c.socket.Read(p)
}

// flush sends the calls that may start, and writes all pending frames.
func (c *connection) flush() error {
	if err := c.begin(); err != nil || c.out.Len() == 0 {
		return err
	}
	_, err := c.socket.Write(c.out.Bytes())
	c.out.Reset()
	return err
}

// begin sends calls as long as the plan, the stream limit and the flow-control windows allow it.
func (c *connection) begin() error {
	if !c.run.started {
		return nil
	}
	for len(c.open) < c.maxOpen && c.window >= c.target.longest {
		start, ok := c.nextStart()
		if !ok {
			return nil
		}
		if err := c.send(start); err != nil {
			return err
		}
	}
	return nil
}

func (c *connection) nextStart() (start time.Duration, ok bool) {
	if !c.run.openLoop() {
		return c.run.take(c.target)
	}
	if len(c.due) == 0 {
		return 0, false
	}
	start, c.due = c.due[0], c.due[1:]
	return start, true
}

func (c *connection) send(start time.Duration) error {
	one := &call{}
	if last := len(c.free) - 1; last >= 0 {
		one, c.free = c.free[last], c.free[:last]
	}
	*one = call{index: c.target.pick(), start: start, body: one.body[:0]}
	message := c.target.framed[one.index]
	id := c.nextStream
	c.nextStream += 2
	c.window -= int64(len(message))
	c.open[id] = one
	return errors.Join(
		c.writer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.headers.next(), EndHeaders: true}),
		c.writer.WriteData(id, true, message),
	)
}

// serve reads until the connection ends. Before the end of the run, that is an error.
func (c *connection) serve() error {
	for {
		frame, err := c.reader.ReadFrame()
		if err == nil {
			c.mu.Lock()
			err = c.handle(frame)
			c.mu.Unlock()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c.target.Socket, err)
		}
	}
}

func (c *connection) handle(frame http2.Frame) error {
	switch frame := frame.(type) {
	case *http2.HeadersFrame:
		return c.onHeaders(frame)
	case *http2.DataFrame:
		if one := c.open[frame.StreamID]; one != nil {
			one.body = append(one.body, frame.Data()...)
		}
		if frame.StreamEnded() {
			c.end(frame.StreamID, noStatus)
		}
		return c.giveCredit(frame.Length)
	case *http2.WindowUpdateFrame:
		if frame.StreamID == 0 {
			c.window += int64(frame.Increment)
		}
	case *http2.SettingsFrame:
		return c.onSettings(frame)
	case *http2.PingFrame:
		if !frame.IsAck() {
			return c.writer.WritePing(true, frame.Data)
		}
	case *http2.RSTStreamFrame:
		c.end(frame.StreamID, "reset "+frame.ErrCode.String())
	case *http2.GoAwayFrame:
		return fmt.Errorf("the server sent GOAWAY: %v %s", frame.ErrCode, frame.DebugData())
	}
	return nil
}

// giveCredit returns received bytes to the flow-control window of the connection.
func (c *connection) giveCredit(received uint32) error {
	c.credit += received
	if c.credit < creditAt {
		return nil
	}
	increment := c.credit
	c.credit = 0
	return c.writer.WriteWindowUpdate(0, increment)
}

func (c *connection) onSettings(frame *http2.SettingsFrame) error {
	if frame.IsAck() {
		return nil
	}
	err := frame.ForeachSetting(func(setting http2.Setting) error {
		switch setting.ID {
		case http2.SettingMaxConcurrentStreams:
			c.maxOpen = min(c.target.InFlight, int(setting.Val))
		case http2.SettingInitialWindowSize:
			if int64(setting.Val) < c.target.longest {
				return errors.New("a request is longer than the flow-control window of a stream")
			}
		case http2.SettingHeaderTableSize:
			if setting.Val < tableSize {
				return errors.New("the header table of the server is too small")
			}
		}
		return nil
	})
	return errors.Join(err, c.writer.WriteSettingsAck())
}

func (c *connection) onHeaders(frame *http2.HeadersFrame) error {
	if !frame.HeadersEnded() {
		return errors.New("a header block of more than one frame is not supported")
	}
	c.httpStatus, c.grpcStatus = "", noStatus
	if _, err := c.decode.Write(frame.HeaderBlockFragment()); err != nil {
		return err
	}
	if err := c.decode.Close(); err != nil {
		return err
	}
	if c.httpStatus != "" && c.httpStatus != "200" {
		c.end(frame.StreamID, "http "+c.httpStatus)
	} else if frame.StreamEnded() {
		c.end(frame.StreamID, c.grpcStatus)
	}
	return nil
}

// end removes a call from the connection and records it. Status 0 means success.
func (c *connection) end(id uint32, status string) {
	one := c.open[id]
	if one == nil {
		return
	}
	delete(c.open, id)
	c.free = append(c.free, one)
	c.run.record(c.target, one, status)
}
