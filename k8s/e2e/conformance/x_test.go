package conformance

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

func TestX(t *testing.T) {
	p := startPlugin(t)
	l := startLoad(t, p)
	for i := range 25 {
		predecessor := p.process
		before, _ := os.Stat(p.socket)
		p.launch(t, "--take-over")
		waitFor(t, 15*time.Second, "socket", func() error {
			if now, err := os.Stat(p.socket); err != nil || os.SameFile(before, now) {
				return errNotYet
			}
			return nil
		})
		predecessor.stop(t)
		time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
		started := time.Now()
		p.stop(t)
		if took := time.Since(started); took > 500*time.Millisecond {
			t.Errorf("round %d: %s", i, took)
		}
		p.start(t)
	}
	l.end()
}
