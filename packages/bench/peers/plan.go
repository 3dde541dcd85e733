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

// plan says what to load, and how; src/load/load.ts has the same type.
type plan struct {
	// Method is a path, such as /v2.KeyManagementService/Decrypt.
	Method  string    `json:"method"`
	Targets []*target `json:"targets"`
	// Without Seconds, a target is done once it has had CallsPerTarget calls.
	CallsPerTarget int     `json:"callsPerTarget"`
	Seconds        float64 `json:"seconds"`
	// Rate is calls a second over all targets, whether earlier ones were answered or not; without it, the next call begins when
	// one is answered.
	Rate float64 `json:"rate"`
	// Once sends each request of a target once.
	Once bool `json:"once"`
}

// target is a server.
type target struct {
	Socket      string   `json:"socket"`
	Connections int      `json:"connections"`
	InFlight    int      `json:"inFlight"`
	Requests    [][]byte `json:"requests"`
	// Answers to the requests, in their order; where absent, any answer that is not empty is right.
	Answers [][]byte `json:"answers"`

	// framed are the requests as gRPC sends them.
	framed  [][]byte
	longest int64
	// limit is after how many calls this target is done; 0: never.
	limit int64
	// begun and ended count calls; the run's lock is theirs.
	begun, ended int64
	doneAt       time.Duration
	// next counts the requests that were picked.
	next atomic.Int64
}

const (
	grpcPrefix   = 5
	maxFrameSize = 16_384
	// maxInFlight is how many calls of a connection may wait: so many answers fit the socket's buffer, and a server never waits
	// for us to read while we wait for it to read.
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
		return nil, errors.New("a plan has a method and targets")
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
		return fmt.Errorf("more than %d in flight", maxInFlight)
	case len(t.Requests) == 0:
		return errors.New("no requests")
	case len(t.Answers) != 0 && len(t.Answers) != len(t.Requests):
		return errors.New("not as many answers as requests")
	}
	t.limit = int64(p.CallsPerTarget)
	if p.Once {
		t.limit = int64(len(t.Requests))
	}
	if p.Seconds == 0 && (t.limit == 0 || p.Rate > 0) {
		return errors.New("it would never end")
	}
	if p.Rate > 0 {
		t.limit = 0
	}
	for _, request := range t.Requests {
		framed := make([]byte, grpcPrefix, grpcPrefix+len(request))
		binary.BigEndian.PutUint32(framed[1:], uint32(len(request)))
		framed = append(framed, request...)
		if len(framed) > maxFrameSize {
			return errors.New("a request is longer than a frame")
		}
		t.framed = append(t.framed, framed)
		t.longest = max(t.longest, int64(len(framed)))
	}
	return nil
}

// pick is the index of the request that comes next.
func (t *target) pick() int { return int((t.next.Add(1) - 1) % int64(len(t.Requests))) }
