package main

import (
	"errors"
	"runtime"
	"syscall"
	"time"
)

// pace begins calls at fixed intervals, whether earlier calls were answered or not.
func (r *run) pace(connections []*connection) error {
	// This thread sleeps in the kernel, because timers of Go may be a millisecond late.
	runtime.LockOSThread()
	const prSetTimerSlack = 29
	if _, _, errno := syscall.Syscall(syscall.SYS_PRCTL, prSetTimerSlack, 1, 0); errno != 0 {
		return errno
	}
	for i := 0; ; i++ {
		due := time.Duration(float64(i) / r.plan.Rate * float64(time.Second))
		if due >= r.plan.duration() {
			break
		}
		if err := r.sleepUntil(due); err != nil {
			return err
		}
		if err := connections[i%len(connections)].beginAt(due); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.paced = true
	r.endIfOver(r.now())
	return nil
}

func (r *run) sleepUntil(due time.Duration) error {
	for {
		left := due - r.now()
		if left <= 0 {
			return nil
		}
		spec := syscall.NsecToTimespec(int64(left))
		// Signals of the Go runtime interrupt the sleep.
		if err := syscall.Nanosleep(&spec, nil); err != nil && !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// beginAt sends a call with the intended start due, as soon as the server and its windows allow it.
func (c *connection) beginAt(due time.Duration) error {
	c.run.mu.Lock()
	c.run.begun++
	c.run.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.due = append(c.due, due)
	return c.flush()
}
