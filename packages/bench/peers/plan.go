package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// plan describes a load. src/load/load.ts declares the same type.
type plan struct {
	// Method is the path of the method, such as /v2.KeyManagementService/Decrypt.
	Method  string    `json:"method"`
	Targets []*target `json:"targets"`
	// Without Seconds, a target is done after CallsPerTarget calls.
	CallsPerTarget int     `json:"callsPerTarget"`
	Seconds        float64 `json:"seconds"`
	// Rate is the number of calls a second over all targets, whether earlier calls were answered or not. Without it, the next
	// call begins when one is answered.
	Rate float64 `json:"rate"`
	// Once sends each request of a target once.
	Once bool `json:"once"`
}

// target is a server under load.
type target struct {
	Socket      string   `json:"socket"`
	Connections int      `json:"connections"`
	InFlight    int      `json:"inFlight"`
	Requests    [][]byte `json:"requests"`
	// Answers are the expected answers in the order of Requests. If absent, any answer that is not empty is correct.
	Answers [][]byte `json:"answers"`

	// framed are the requests as gRPC sends them.
	framed  [][]byte
	longest int64
	// limit is the number of calls after which this target is done; 0 means no limit.
	limit int64
	// begun and ended count calls. The lock of the run protects them.
	begun, ended int64
	doneAt       time.Duration
	// next counts the picked requests.
	next atomic.Int64
}

const (
	grpcPrefix   = 5
	maxFrameSize = 16_384
	// maxInFlight limits the pending calls of a connection. Their answers fit the buffer of the socket, so client and server
	// never wait for each other to read.
	maxInFlight = 1_000
)

func (p *plan) duration() time.Duration { return time.Duration(p.Seconds * float64(time.Second)) }

func readPlan(file string) (*plan, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var p plan
	if err := json.Unmarshal(text, &p); err != nil {
		return nil, err
	}
	if p.Method == "" || len(p.Targets) == 0 {
		return nil, errors.New("the plan needs a method and at least one target")
	}
	for _, t := range p.Targets {
		if err := t.prepare(&p); err != nil {
			return nil, fmt.Errorf("%s: %w", t.Socket, err)
		}
	}
	return &p, nil
}

func (t *target) prepare(p *plan) error {
	t.Connections, t.InFlight = max(t.Connections, 1), max(t.InFlight, 1)
	switch {
	case t.InFlight > maxInFlight:
		return fmt.Errorf("inFlight is more than %d", maxInFlight)
	case len(t.Requests) == 0:
		return errors.New("the target has no requests")
	case len(t.Answers) != 0 && len(t.Answers) != len(t.Requests):
		return errors.New("the numbers of answers and requests differ")
	}
	t.limit = int64(p.CallsPerTarget)
	if p.Once {
		t.limit = int64(len(t.Requests))
	}
	if p.Seconds == 0 && (t.limit == 0 || p.Rate > 0) {
		return errors.New("the load would never end: set seconds, or without a rate callsPerTarget or once")
	}
	if p.Rate > 0 {
		t.limit = 0
	}
	for _, request := range t.Requests {
		message := framed(request)
		if len(message) > maxFrameSize {
			return errors.New("a request is longer than an HTTP/2 frame")
		}
		t.framed = append(t.framed, message)
		t.longest = max(t.longest, int64(len(message)))
	}
	return nil
}

// framed puts the gRPC prefix before a message.
func framed(message []byte) []byte {
	out := make([]byte, grpcPrefix, grpcPrefix+len(message))
	binary.BigEndian.PutUint32(out[1:], uint32(len(message)))
	return append(out, message...)
}

// pick returns the index of the next request.
func (t *target) pick() int { return int((t.next.Add(1) - 1) % int64(len(t.Requests))) }
