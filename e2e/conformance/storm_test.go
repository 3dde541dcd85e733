package conformance

import (
	"sync"
	"testing"
	"time"

	kmsservice "k8s.io/kms/pkg/service"
)

// What a node's kube-apiservers ask when they all come back at once: each ciphertext a different one, each with the
// deadline that kube-apiserver gives it, over one connection.
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
	wantOpens(t, service, storm[0]) // connected; the start is not what is measured

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

	failed := 0
	for _, err := range errors {
		if err == nil {
			continue
		}
		if failed++; failed <= 3 {
			t.Error(err)
		}
	}
	t.Logf("FIGURE %d concurrent Decrypts of distinct ciphertexts: %s, %.0f/s, %d failed", count, figures(latencies), count/took.Seconds(), failed)
	if latencies[count-1] > callTimeout {
		t.Errorf("the slowest took %s", latencies[count-1])
	}
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
