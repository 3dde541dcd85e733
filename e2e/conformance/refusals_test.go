package conformance

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	kmsservice "k8s.io/kms/pkg/service"
)

// codeOf is the gRPC status of a reject (spec §9).
func codeOf(t *testing.T, err error) codes.Code {
	t.Helper()
	var reject *Reject
	if !errors.As(err, &reject) {
		t.Fatalf("no reject: %v", err)
	}
	switch reject.Code {
	case UnknownKey, KeyRetired:
		return codes.FailedPrecondition
	default:
		return codes.InvalidArgument
	}
}

// refusals asks the plugin to open damaged ciphertexts over both APIs and compares its status with what this module
// says of the same bytes. All answers of one status must read the same, so that nobody learns which check failed.
type refusals struct {
	t        *testing.T
	plugin   *plugin
	keyset   *Keyset
	keyID    string
	v1       func([]byte) ([]byte, error)
	v2       func([]byte) ([]byte, error)
	messages map[codes.Code]string
	counts   map[codes.Code]int
}

func newRefusals(t *testing.T) (*refusals, []byte) {
	t.Helper()
	p := startPlugin(t)
	service := p.v2(t)
	good := encrypt(t, service, seed())
	keyset, keyID := p.readKeyset(t)
	return &refusals{
		t: t, plugin: p, keyset: keyset, keyID: keyID,
		v1: p.v1(t).Decrypt,
		v2: func(ciphertext []byte) ([]byte, error) {
			return service.Decrypt(t.Context(), "uid", &kmsservice.DecryptRequest{Ciphertext: ciphertext, KeyID: keyID})
		},
		messages: map[codes.Code]string{},
		counts:   map[codes.Code]int{},
	}, good.response.Ciphertext
}

type damage struct {
	what  string
	bytes []byte
}

type answer struct {
	plaintext []byte
	err       error
}

// check asks for all of them at once: the plugin looks at its store for unknown keys at most once a second.
func (r *refusals) check(all ...damage) {
	r.t.Helper()
	v1, v2 := make([]answer, len(all)), make([]answer, len(all))
	var asked sync.WaitGroup
	for index, damaged := range all {
		asked.Go(func() { v2[index].plaintext, v2[index].err = r.v2(damaged.bytes) })
		asked.Go(func() { v1[index].plaintext, v1[index].err = r.v1(damaged.bytes) })
	}
	asked.Wait()
	for index, damaged := range all {
		_, want := Open(damaged.bytes, r.keyset, &r.keyID)
		r.compare(damaged.what+", v2", v2[index], codeOf(r.t, want))
		_, want = Open(damaged.bytes, r.keyset, nil)
		r.compare(damaged.what+", v1", v1[index], codeOf(r.t, want))
	}
}

func (r *refusals) compare(what string, answer answer, want codes.Code) {
	r.t.Helper()
	if answer.err == nil || len(answer.plaintext) > 0 {
		r.t.Fatalf("%s: opened, with %d bytes of plaintext", what, len(answer.plaintext))
	}
	got := status.Convert(answer.err)
	if got.Code() != want {
		r.t.Errorf("%s: %v (%s), want %v", what, got.Code(), got.Message(), want)
	}
	r.counts[got.Code()]++
	if message, seen := r.messages[got.Code()]; seen && message != got.Message() {
		r.t.Errorf("%s: says %q, others of this status say %q", what, got.Message(), message)
	}
	r.messages[got.Code()] = got.Message()
}

// done demands that the plugin has come through it all.
func (r *refusals) done() {
	r.t.Helper()
	service := r.plugin.v2(r.t)
	wantOpens(r.t, service, encrypt(r.t, service, seed()))
	r.t.Logf("refused: %v", r.counts)
}

func TestEveryFlippedBitIsRefused(t *testing.T) {
	r, good := newRefusals(t)
	var all []damage
	for index := range good {
		for bit := range 8 {
			damaged := slices.Clone(good)
			damaged[index] ^= 1 << bit
			all = append(all, damage{fmt.Sprintf("byte %d, bit %d", index, bit), damaged})
		}
	}
	r.check(all...)
	r.done()
}

func TestEveryTruncationIsRefused(t *testing.T) {
	r, good := newRefusals(t)
	for length := range good {
		r.check(
			damage{fmt.Sprintf("the first %d bytes", length), good[:length]},
			damage{fmt.Sprintf("without the first %d bytes", length+1), good[length+1:]},
		)
	}
	r.done()
}

// Lengths that lie, bytes too many, and what one would not think of. The seed is fixed: a failure must come again.
func TestRandomDamageIsRefused(t *testing.T) {
	r, good := newRefusals(t)
	random := rand.New(rand.NewPCG(1, 2))
	all := []damage{{"65,536 bytes", append(slices.Clone(good), make([]byte, 65_536-len(good))...)}}
	for round := range 500 {
		damaged := slices.Clone(good)
		for range 1 + random.IntN(3) {
			at := random.IntN(len(good) - 3) // in any of them, however much was deleted
			switch random.IntN(4) {
			case 0:
				damaged[at] = byte(random.IntN(256))
			case 1:
				damaged = slices.Insert(damaged, at, byte(random.IntN(256)))
			case 2:
				damaged = slices.Delete(damaged, at, at+1)
			case 3:
				damaged = append(damaged, good[at:]...)
			}
		}
		if slices.Equal(damaged, good) {
			continue
		}
		all = append(all, damage{fmt.Sprintf("round %d", round), damaged})
	}
	r.check(all...)
	r.done()
}

func TestRequestThatDoesNotFitTheEnvelopeIsRefused(t *testing.T) {
	p := startPlugin(t)
	service := p.v2(t)
	oldKey := encrypt(t, service, seed())
	p.switchKey(t)
	newKey := encrypt(t, service, seed())
	if oldKey.response.KeyID == newKey.response.KeyID {
		t.Fatal("no switch")
	}
	for name, request := range map[string]*kmsservice.DecryptRequest{
		"another known key":  {Ciphertext: newKey.response.Ciphertext, KeyID: oldKey.response.KeyID},
		"the other way":      {Ciphertext: oldKey.response.Ciphertext, KeyID: newKey.response.KeyID},
		"an unknown key":     {Ciphertext: newKey.response.Ciphertext, KeyID: "unknown"},
		"no key":             {Ciphertext: newKey.response.Ciphertext},
		"a longer key":       {Ciphertext: newKey.response.Ciphertext, KeyID: newKey.response.KeyID + "a"},
		"unknown annotation": withAnnotation(newKey, "teapot-kms.example", "x"),
		"empty annotation":   withAnnotation(newKey, "teapot-kms.example", ""),
		"no ciphertext":      {KeyID: newKey.response.KeyID},
		"not ours":           {Ciphertext: []byte("vault:v1:8SDd3WHDOjf7mq69CyCqYjBXAiQQAVZRkFM13ok481zoCmHnSeDX9vyf7w=="), KeyID: newKey.response.KeyID},
	} {
		t.Run(name, func(t *testing.T) {
			plaintext, err := service.Decrypt(t.Context(), "uid", request)
			if len(plaintext) > 0 {
				t.Error("a plaintext was given out")
			}
			wantCode(t, err, codes.InvalidArgument)
		})
	}
	wantOpens(t, service, oldKey)
	wantOpens(t, service, newKey)
}

func withAnnotation(s *sealed, key, value string) *kmsservice.DecryptRequest {
	request := s.request()
	request.Annotations = map[string][]byte{key: []byte(value)}
	return request
}

func TestRetiredAndUnknownKeys(t *testing.T) {
	p, stranger := startPlugin(t), startPlugin(t)
	service := p.v2(t)
	old := encrypt(t, service, seed())
	foreign := encrypt(t, stranger.v2(t), seed())
	wantRefused := func(s *sealed) error {
		_, err := service.Decrypt(t.Context(), "uid", s.request())
		if status.Code(err) != codes.FailedPrecondition {
			return fmt.Errorf("got %v, want %v", err, codes.FailedPrecondition)
		}
		return nil
	}
	must(t, wantRefused(foreign))
	p.switchKey(t)
	wantOpens(t, service, old)
	p.retireKey(t, old.response.KeyID)
	waitFor(t, callTimeout, "the retired key's refusal", func() error { return wantRefused(old) })
	if _, err := p.v1(t).Decrypt(old.response.Ciphertext); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("v1: %v", err)
	}
	p.keys(t, "restore", old.response.KeyID)
	waitFor(t, callTimeout, "the restored key", func() error { return old.opensAgain(t.Context(), service) })
}
