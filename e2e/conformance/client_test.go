package conformance

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apiserver/pkg/storage/value/encrypt/envelope"
	"k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2"
	kmsservice "k8s.io/kms/pkg/service"
)

// callTimeout is what kube-apiserver waits for a call when its configuration says nothing.
const callTimeout = 3 * time.Second

func (p *plugin) v2(t *testing.T) kmsservice.Service { t.Helper(); return p.v2Within(t, callTimeout) }

func (p *plugin) v2Within(t *testing.T, timeout time.Duration) kmsservice.Service {
	t.Helper()
	service, err := kmsv2.NewGRPCService(t.Context(), p.endpoint(), "main", timeout)
	must(t, err)
	return service
}

func (p *plugin) v1(t *testing.T) envelope.Service {
	t.Helper()
	service, err := envelope.NewGRPCService(t.Context(), p.endpoint(), callTimeout)
	must(t, err)
	return service
}

// sealed is a plaintext with what the plugin made of it.
type sealed struct {
	plaintext []byte
	response  *kmsservice.EncryptResponse
}

func (s *sealed) request() *kmsservice.DecryptRequest {
	return &kmsservice.DecryptRequest{
		Ciphertext:  s.response.Ciphertext,
		KeyID:       s.response.KeyID,
		Annotations: s.response.Annotations,
	}
}

// opensAgain asks for the plaintext and compares it.
func (s *sealed) opensAgain(ctx context.Context, service kmsservice.Service) error {
	plaintext, err := service.Decrypt(ctx, "uid", s.request())
	if err == nil && !bytes.Equal(plaintext, s.plaintext) {
		return errors.New("another plaintext than the one that was encrypted")
	}
	return err
}

func encrypt(t *testing.T, service kmsservice.Service, plaintext []byte) *sealed {
	t.Helper()
	response, err := service.Encrypt(t.Context(), "uid", plaintext)
	must(t, err)
	return &sealed{plaintext, response}
}

// seed is what kube-apiserver encrypts with KMS v2: 32 random bytes.
func seed() []byte { return randomBytes(32) }

func randomBytes(length int) []byte {
	bytes := make([]byte, length)
	_, _ = rand.Read(bytes) // never fails, says its documentation
	return bytes
}

func wantOpens(t *testing.T, service kmsservice.Service, s *sealed) {
	t.Helper()
	if err := s.opensAgain(t.Context(), service); err != nil {
		t.Errorf("Decrypt: %v", err)
	}
}

func wantCode(t *testing.T, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("got %v (%v), want %v", got, err, want)
	}
}

// figures is latencies in a form that can be read.
func figures(latencies []time.Duration) string {
	slices.Sort(latencies)
	at := func(share float64) time.Duration {
		return latencies[int(share*float64(len(latencies)-1))].Round(100 * time.Microsecond)
	}
	return fmt.Sprintf("p50 %s, p99 %s, max %s", at(0.5), at(0.99), at(1))
}
