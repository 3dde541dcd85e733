package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// run is the state of a load.
type run struct {
	plan    *plan
	origin  time.Time
	started bool
	done    chan struct{}
	end     sync.Once

	mu        sync.Mutex
	latencies *hdrhistogram.Histogram
	ok, wrong int64
	failed    map[string]int64
	// begun and ended count calls. The pacer may have begun calls that are not sent yet.
	begun, ended int64
	// total is the number of calls, if it is known. paced means that the pacer has begun its last call.
	total    int64
	paced    bool
	timeline []int64
	last     time.Duration
	cpu      time.Duration
}

const (
	shortest     = 100 * time.Nanosecond
	longest      = 2 * time.Minute
	digits       = 3
	timelineStep = 25 * time.Millisecond
	// stalledAfter is how long a run may go on without the end of a call.
	stalledAfter = 30 * time.Second
	gcPercent    = 400
)

func loadCommand(args []string) error {
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	file := flags.String("plan", "", "JSON file with the plan of the load")
	if err := flags.Parse(args); err != nil {
		return err
	}
	p, err := readPlan(*file)
	if err != nil {
		return fmt.Errorf("%s: %w", *file, err)
	}
	debug.SetGCPercent(gcPercent)
	r := newRun(p)
	if err := r.load(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r.result())
}

func newRun(p *plan) *run {
	r := &run{plan: p, done: make(chan struct{}), failed: map[string]int64{}}
	r.latencies = hdrhistogram.New(int64(shortest), int64(longest), digits)
	for _, t := range p.Targets {
		r.total += t.limit
	}
	return r
}

// load connects to all targets, then starts all connections at the same time.
func (r *run) load() error {
	var connections []*connection
	for _, t := range r.plan.Targets {
		for range t.Connections {
			c, err := dial(r, t)
			if err != nil {
				return fmt.Errorf("%s: %w", t.Socket, err)
			}
			connections = append(connections, c)
		}
	}
	failures := make(chan error, len(connections)+1)
	before, err := cpuTime()
	if err != nil {
		return err
	}
	r.origin, r.started = time.Now(), true
	for _, c := range connections {
		go func() { failures <- c.serve() }()
	}
	if r.openLoop() {
		go func() {
			if err := r.pace(connections); err != nil {
				failures <- err
			}
		}()
	}
	if err := r.wait(failures); err != nil {
		return err
	}
	after, err := cpuTime()
	r.cpu = after - before
	return err
}

// wait returns when the last call has ended.
func (r *run) wait(failures <-chan error) error {
	ticker := time.NewTicker(stalledAfter)
	defer ticker.Stop()
	for seen := int64(-1); ; {
		select {
		case <-r.done:
			return nil
		case err := <-failures:
			return err
		case <-ticker.C:
			r.mu.Lock()
			ended, waiting := r.ended, r.begun-r.ended
			r.mu.Unlock()
			if ended == seen {
				return fmt.Errorf("no call ended in %v; %d calls wait for their answer", stalledAfter, waiting)
			}
			seen = ended
		}
	}
}

func (r *run) openLoop() bool { return r.plan.Rate > 0 }

func (r *run) now() time.Duration { return time.Since(r.origin) }

// take begins the next call of a target in a closed loop. ok is false if no call is left.
func (r *run) take(t *target) (start time.Duration, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if (t.limit > 0 && t.begun == t.limit) || (r.plan.Seconds > 0 && now >= r.plan.duration()) {
		// The last answer may have arrived just before the end of the run, so record did not end the run.
		r.endIfOver(now)
		return 0, false
	}
	t.begun++
	r.begun++
	return now, true
}

// record counts a call that has ended. Status 0 means success.
func (r *run) record(t *target, one *call, status string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	switch {
	case status != "0":
		r.failed[status]++
	case !t.isAnswer(one):
		r.wrong++
	default:
		r.ok++
		// RecordValue never fails within the bounds.
		_ = r.latencies.RecordValue(int64(min(max(now-one.start, shortest), longest)))
	}
	r.last = now
	for step := int(now / timelineStep); len(r.timeline) <= step; {
		r.timeline = append(r.timeline, 0)
	}
	r.timeline[len(r.timeline)-1]++
	t.ended++
	if t.ended == t.limit {
		t.doneAt = now
	}
	r.ended++
	r.endIfOver(now)
}

// endIfOver ends the run after its last call. The caller holds the lock.
func (r *run) endIfOver(now time.Duration) {
	over := r.paced
	if !r.openLoop() {
		over = r.begun == r.total || (r.plan.Seconds > 0 && now >= r.plan.duration())
	}
	if over && r.begun == r.ended {
		r.end.Do(func() { close(r.done) })
	}
}

// isAnswer compares the answer with the expected message. If none is expected, any message that is not empty is correct.
func (t *target) isAnswer(one *call) bool {
	if len(one.body) < grpcPrefix || one.body[0] != 0 {
		return false
	}
	if len(t.Answers) == 0 {
		return len(one.body) > grpcPrefix
	}
	return bytes.Equal(one.body[grpcPrefix:], t.Answers[one.index])
}
