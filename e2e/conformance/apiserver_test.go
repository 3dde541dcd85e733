package conformance

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2"
	kmsservice "k8s.io/kms/pkg/service"
)

// apiserver is the part of a kube-apiserver between its storage and the plugin, made by its own code from an
// EncryptionConfiguration. Loading one anew is what a restart of kube-apiserver is to the plugin: a new connection, a
// new seed, empty caches.
type apiserver struct {
	value.Transformer
	prefix string
	health func() error
	// calls are those of the KMS v2 client of this provider name, over all its loads.
	calls *calls
}

// providerName is unique, as client code keeps clocks and metrics by it.
func providerName(t *testing.T) string { return strings.ToLower(t.Name()) }

func loadAPIServer(t *testing.T, p *plugin, apiVersion string) *apiserver {
	t.Helper()
	name := providerName(t)
	file := filepath.Join(t.TempDir(), "encryption-configuration.yaml")
	must(t, os.WriteFile(file, []byte(fmt.Sprintf(`apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: [secrets]
    providers:
      - kms: { apiVersion: %s, name: %s, endpoint: "%s" }
      - identity: {}
`, apiVersion, name, p.endpoint())), 0o600))
	loaded, err := encryptionconfig.LoadEncryptionConfig(t.Context(), file, false, "conformance")
	must(t, err)
	return &apiserver{
		Transformer: loaded.Transformers[schema.GroupResource{Resource: "secrets"}],
		prefix:      fmt.Sprintf("k8s:enc:kms:%s:%s:", apiVersion, name),
		health:      func() error { return loaded.HealthChecks[0].Check(&http.Request{}) },
		calls:       callsOf(name),
	}
}

// secret is an object as etcd has it.
type secret struct {
	key               value.Context
	plaintext, stored []byte
}

func (a *apiserver) write(index int) (*secret, error) {
	s := &secret{
		key:       value.DefaultContext(fmt.Sprintf("/registry/secrets/default/s%d", index)),
		plaintext: []byte(fmt.Sprintf("the secret with number %d", index)),
	}
	var err error
	s.stored, err = a.TransformToStorage(context.Background(), s.plaintext, s.key)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(s.stored, []byte(a.prefix)) || bytes.Contains(s.stored, s.plaintext) {
		return nil, fmt.Errorf("stored as %q", s.stored)
	}
	return s, nil
}

func (a *apiserver) mustWrite(t *testing.T, count int) []*secret {
	t.Helper()
	secrets := make([]*secret, count)
	for index := range secrets {
		var err error
		secrets[index], err = a.write(index)
		must(t, err)
	}
	return secrets
}

// wantRead reads secrets and demands that they are all stale or all fresh.
func (a *apiserver) wantRead(t *testing.T, secrets []*secret, wantStale bool) {
	t.Helper()
	for _, s := range secrets {
		plaintext, stale, err := a.TransformFromStorage(t.Context(), s.stored, s.key)
		if err != nil || !bytes.Equal(plaintext, s.plaintext) || stale != wantStale {
			t.Fatalf("read %q, stale %t (want %t): %v", plaintext, stale, wantStale, err)
		}
	}
}

// waitForHealth waits until the health check is (not) ok; its result is cached for 20 s while good and 3 s while bad.
func (a *apiserver) waitForHealth(t *testing.T, ok bool) error {
	t.Helper()
	var last error
	waitFor(t, 60*time.Second, fmt.Sprintf("a health check that is ok: %t", ok), func() error {
		last = a.health()
		if (last == nil) == ok {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
		return fmt.Errorf("it says %v", last)
	})
	return last
}

// clock is what kube-apiserver takes for the time where it is about the expiry of a seed.
type clock struct{ ahead atomic.Int64 }

func setClock(t *testing.T) *clock {
	c := &clock{}
	t.Cleanup(kmsv2.SetNowFuncForTests(providerName(t), func() time.Time {
		return time.Now().Add(time.Duration(c.ahead.Load()))
	}))
	return c
}

func (c *clock) advance(by time.Duration) { c.ahead.Add(int64(by)) }

// calls counts what the client asks of the plugin.
type calls struct{ status, encrypt, decrypt atomic.Int64 }

var callsByName sync.Map

func callsOf(name string) *calls {
	counted, _ := callsByName.LoadOrStore(name, &calls{})
	return counted.(*calls)
}

type countingService struct {
	kmsservice.Service
	calls *calls
}

// countedService takes the place of kmsv2.NewGRPCService in LoadEncryptionConfig, and calls it.
func countedService(ctx context.Context, endpoint, name string, timeout time.Duration) (kmsservice.Service, error) {
	service, err := kmsv2.NewGRPCService(ctx, endpoint, name, timeout)
	return &countingService{service, callsOf(name)}, err
}

func (c *countingService) Status(ctx context.Context) (*kmsservice.StatusResponse, error) {
	c.calls.status.Add(1)
	return c.Service.Status(ctx)
}

func (c *countingService) Encrypt(ctx context.Context, uid string, data []byte) (*kmsservice.EncryptResponse, error) {
	c.calls.encrypt.Add(1)
	return c.Service.Encrypt(ctx, uid, data)
}

func (c *countingService) Decrypt(ctx context.Context, uid string, request *kmsservice.DecryptRequest) ([]byte, error) {
	c.calls.decrypt.Add(1)
	return c.Service.Decrypt(ctx, uid, request)
}
