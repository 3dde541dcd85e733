package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// load is callers that ask without a pause, over both APIs, until they are stopped.
type load struct {
	stop    chan struct{}
	done    sync.WaitGroup
	callers []*atomic.Int64 // answers that each of them has had
	mutex   sync.Mutex
	calls   int
	longest time.Duration
	errors  map[string]int
	codes   map[codes.Code]int
}

func startLoad(t *testing.T, p *plugin) *load {
	t.Helper()
	l := &load{stop: make(chan struct{}), errors: map[string]int{}, codes: map[codes.Code]int{}}
	v2, v1 := p.v2(t), p.v1(t)
	one := encrypt(t, v2, seed())
	cipher, err := v1.Encrypt(one.plaintext)
	must(t, err)
	for range 8 {
		l.run("v2 Decrypt", func() error { return one.opensAgain(t.Context(), v2) })
	}
	l.run("v2 Encrypt", func() error { _, err := v2.Encrypt(t.Context(), "uid", one.plaintext); return err })
	l.run("v2 Status", func() error { _, err := v2.Status(t.Context()); return err })
	for range 4 {
		l.run("v1 Decrypt", func() error {
			plain, err := v1.Decrypt(cipher)
			if err == nil && !bytes.Equal(plain, one.plaintext) {
				err = fmt.Errorf("another plaintext")
			}
			return err
		})
	}
	l.run("v1 Encrypt", func() error { _, err := v1.Encrypt([]byte("ping")); return err })
	t.Cleanup(func() { l.end() })
	return l
}

func (l *load) run(name string, call func() error) {
	answers := &atomic.Int64{}
	l.callers = append(l.callers, answers)
	l.done.Go(func() {
		for {
			select {
			case <-l.stop:
				return
			default:
			}
			started := time.Now()
			err := call()
			took := time.Since(started)
			l.mutex.Lock()
			l.calls++
			l.longest = max(l.longest, took)
			if err != nil {
				l.errors[name+": "+err.Error()]++
				l.codes[status.Code(err)]++
			} else {
				answers.Add(1)
			}
			l.mutex.Unlock()
		}
	})
}

// settle waits until every caller has been answered anew. Without it a second restart could meet a client that still
// waits out the back-off of the first, which grows with each refused connection until it is longer than a deadline.
func (l *load) settle(t *testing.T) {
	t.Helper()
	for _, answers := range l.callers {
		before := answers.Load()
		waitFor(t, 2*callTimeout, "callers to be answered again", func() error {
			if answers.Load() < before+2 {
				return errNotYet
			}
			return nil
		})
	}
}

// end returns when the last call has ended.
func (l *load) end() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.done.Wait()
}

func (l *load) wantNoErrors(t *testing.T) {
	t.Helper()
	for text, count := range l.errors {
		t.Errorf("%d of %d calls: %s", count, l.calls, text)
	}
}

// A restart, as after an upgrade: calls under way are finished, calls that come meanwhile wait in the client and are
// sent to the successor.
func TestRestartUnderLoadLosesNothing(t *testing.T) {
	p := startPlugin(t)
	l := startLoad(t, p)
	for range 3 {
		time.Sleep(300 * time.Millisecond)
		p.stop(t)
		p.start(t)
		l.settle(t)
	}
	l.end()
	t.Logf("FIGURE three restarts under load: %d calls, the longest took %s", l.calls, l.longest.Round(time.Millisecond))
	l.wantNoErrors(t)
}

// A successor that takes the socket over before its predecessor ends leaves no gap at all (design D13).
func TestTakeOverUnderLoadLosesNothing(t *testing.T) {
	p := startPlugin(t)
	l := startLoad(t, p)
	for range 3 {
		time.Sleep(300 * time.Millisecond)
		predecessor := p.process
		before, err := os.Stat(p.socket)
		must(t, err)
		p.launch(t, "--take-over")
		// The predecessor answers all the while, so a Status would not tell.
		waitFor(t, 15*time.Second, "the successor's socket", func() error {
			if now, err := os.Stat(p.socket); err != nil || os.SameFile(before, now) {
				return fmt.Errorf("still the predecessor's: %v", err)
			}
			return nil
		})
		predecessor.stop(t)
		l.settle(t)
	}
	l.end()
	t.Logf("FIGURE three take-overs under load: %d calls, the longest took %s", l.calls, l.longest.Round(time.Millisecond))
	l.wantNoErrors(t)
}

// kill -9 leaves the socket file behind and cuts calls off; after that the same client must get on by itself.
func TestKillAndRestart(t *testing.T) {
	p := startPlugin(t)
	v2, v1 := p.v2(t), p.v1(t)
	one := encrypt(t, v2, seed())
	cipher, err := v1.Encrypt(one.plaintext)
	must(t, err)
	l := startLoad(t, p)
	for range 3 {
		time.Sleep(200 * time.Millisecond)
		p.kill(t)
		p.start(t)
		started := time.Now()
		wantOpens(t, v2, one) // one call, without a second try of ours
		if _, err := v1.Decrypt(cipher); err != nil {
			t.Errorf("v1: %v", err)
		}
		t.Logf("FIGURE after kill -9 and a start, the client's calls take %s", time.Since(started).Round(time.Millisecond))
		l.settle(t)
	}
	l.end()
	for code, count := range l.codes {
		if code != codes.Unavailable {
			t.Errorf("%d calls ended with %v, only %v is to be expected", count, code, codes.Unavailable)
		}
	}
	t.Logf("%d calls, of which were cut off: %v", l.calls, l.codes)
}

// Connections on which nothing happens, of a client or of someone who never says a word, must not delay a stop.
func TestStopWithIdleConnections(t *testing.T) {
	p := startPlugin(t)
	for range 5 {
		wantOpens(t, p.v2(t), encrypt(t, p.v2(t), seed()))
		silent, err := net.Dial("unix", p.socket)
		must(t, err)
		defer silent.Close()
	}
	started := time.Now()
	p.stop(t)
	if took := time.Since(started); took > time.Second {
		t.Errorf("the stop took %s", took)
	}
	if _, err := os.Lstat(p.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}
