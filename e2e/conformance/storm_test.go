package conformance

import (
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	kmsservice "k8s.io/kms/pkg/service"
)

// All kube-apiservers of a node restart: each ciphertext is a different one, over one connection, with kube-apiserver's own deadline
// of 3 s. How many calls a machine answers in that time depends on the machine. The kind of answer does not: the right plaintext or
// DEADLINE_EXCEEDED, and the connection serves the next call.
func TestTenThousandDecryptsAtOnce(t *testing.T) {
	const count = 10_000
	p := startPlugin(t)
	keyset, keyID := p.readKeyset(t)
	storm := make([]*sealed, count)
	for index := range storm {
		plaintext := seed()
		ciphertext, err := Seal(plaintext, keyset.Keys[keyID], keyID, keyset.ContextID, nil)
		must(t, err)
		storm[index] = &sealed{plaintext, &kmsservice.EncryptResponse{Ciphertext: ciphertext, KeyID: keyID}}
	}
	service := p.v2(t)
	wantOpens(t, service, storm[0]) // The connection is up before the storm.

	latencies := make([]time.Duration, count)
	errors := make([]error, count)
	var ready, done sync.WaitGroup
	begin := make(chan struct{})
	for index, one := range storm {
		ready.Add(1)
		done.Go(func() {
			ready.Done()
			<-begin
			started := time.Now()
			errors[index] = one.opensAgain(t.Context(), service)
			latencies[index] = time.Since(started)
		})
	}
	ready.Wait()
	started := time.Now()
	close(begin)
	done.Wait()
	took := time.Since(started)

	tooLate := 0
	others := map[string]int{}
	for _, err := range errors {
		switch status.Code(err) {
		case codes.OK:
		case codes.DeadlineExceeded:
			tooLate++
		default:
			others[err.Error()]++
		}
	}
	for err, calls := range others {
		t.Errorf("%d calls: %s", calls, err)
	}
	t.Logf("FIGURE %d concurrent Decrypts of distinct ciphertexts: %s, %.0f/s, %d over their deadline",
		count, figures(latencies), count/took.Seconds(), tooLate)
	wantOpens(t, p.v2Within(t, time.Minute), storm[0])
}

// kube-apiserver has no single flight: many readers of one object ask for its seed at the same time.
func TestIdenticalDecryptsAtOnce(t *testing.T) {
	p := startPlugin(t)
	services := []kmsservice.Service{p.v2(t), p.v2(t), p.v2(t)}
	one := encrypt(t, services[0], seed())
	var done sync.WaitGroup
	for index := range 1_500 {
		done.Go(func() {
			if err := one.opensAgain(t.Context(), services[index%len(services)]); err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
}
