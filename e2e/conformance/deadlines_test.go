package conformance

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	kmsservice "k8s.io/kms/pkg/service"
)

// A caller that gave up gets its own error, and nobody else anything but the right answer: the same connection serves
// well-behaved calls all the while.
func wantOnly(t *testing.T, allowed codes.Code, impatient func() (context.Context, context.CancelFunc)) {
	t.Helper()
	service := startPlugin(t).v2(t)
	one := encrypt(t, service, seed())
	var gaveUp, answered atomic.Int64
	var done sync.WaitGroup
	for range 16 {
		done.Go(func() {
			for range 50 {
				ctx, cancel := impatient()
				err := callAny(ctx, service, one)
				cancel()
				switch status.Code(err) {
				case codes.OK:
					answered.Add(1)
				case allowed:
					gaveUp.Add(1)
				default:
					t.Errorf("an impatient call: %v", err)
				}
			}
		})
		done.Go(func() {
			for range 50 {
				if err := one.opensAgain(t.Context(), service); err != nil {
					t.Errorf("a patient call: %v", err)
				}
			}
		})
	}
	done.Wait()
	t.Logf("%d gave up, %d were answered", gaveUp.Load(), answered.Load())
	if gaveUp.Load() == 0 {
		t.Error("nobody gave up: nothing is shown")
	}
	wantOpens(t, service, one)
}

func callAny(ctx context.Context, service kmsservice.Service, one *sealed) error {
	switch rand.IntN(3) {
	case 0:
		_, err := service.Status(ctx)
		return err
	case 1:
		_, err := service.Encrypt(ctx, "uid", one.plaintext)
		return err
	default:
		return one.opensAgain(ctx, service)
	}
}

func TestCancelledCalls(t *testing.T) {
	wantOnly(t, codes.Canceled, func() (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancel(t.Context())
		if after := rand.IntN(5); after == 0 {
			cancel()
		} else {
			time.AfterFunc(time.Duration(rand.IntN(3_000))*time.Microsecond, cancel)
		}
		return ctx, cancel
	})
}

func TestTinyDeadlines(t *testing.T) {
	wantOnly(t, codes.DeadlineExceeded, func() (context.Context, context.CancelFunc) {
		timeouts := []time.Duration{time.Nanosecond, time.Microsecond, 100 * time.Microsecond, time.Millisecond, 3 * time.Millisecond}
		return context.WithTimeout(t.Context(), timeouts[rand.IntN(len(timeouts))])
	})
}
