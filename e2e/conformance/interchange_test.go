package conformance

import (
	"bytes"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	kmsservice "k8s.io/kms/pkg/service"
)

func TestGoOpensWhatThePluginSealed(t *testing.T) {
	p := startPlugin(t)
	keyset, primary := p.readKeyset(t)
	v2 := encrypt(t, p.v2(t), seed())
	opened, err := Open(v2.response.Ciphertext, keyset, &primary)
	if err != nil || !bytes.Equal(opened, v2.plaintext) {
		t.Errorf("v2: %v", err)
	}
	cipher, err := p.v1(t).Encrypt([]byte("ping"))
	must(t, err)
	opened, err = Open(cipher, keyset, nil)
	if err != nil || string(opened) != "ping" {
		t.Errorf("v1: %q, %v", opened, err)
	}
}

func TestPluginOpensWhatGoSealed(t *testing.T) {
	p := startPlugin(t)
	keyset, primary := p.readKeyset(t)
	v1, v2 := p.v1(t), p.v2(t)
	for _, length := range []int{1, 4, 32, 33, 951} {
		plaintext := randomBytes(length)
		ciphertext, err := Seal(plaintext, keyset.Keys[primary], primary, keyset.ContextID, nil)
		must(t, err)
		wantOpens(t, v2, &sealed{plaintext, &kmsservice.EncryptResponse{Ciphertext: ciphertext, KeyID: primary}})
		opened, err := v1.Decrypt(ciphertext)
		if err != nil || !bytes.Equal(opened, plaintext) {
			t.Errorf("v1, %d bytes: %v", length, err)
		}
	}
}

// A pending key opens on every replica before anything is sealed under it (design D4); another replica that has
// switched already is played by Go here.
func TestPluginOpensUnderAPendingKey(t *testing.T) {
	p := startPlugin(t)
	service := p.v2(t)
	pending := p.generateKey(t)
	keyset, primary := p.readKeyset(t)
	plaintext := seed()
	ciphertext, err := Seal(plaintext, keyset.Keys[pending], pending, keyset.ContextID, nil)
	must(t, err)
	ahead := &sealed{plaintext, &kmsservice.EncryptResponse{Ciphertext: ciphertext, KeyID: pending}}
	// At once, without waiting for a probe: an unknown key makes the plugin look.
	wantOpens(t, service, ahead)
	status, err := service.Status(t.Context())
	must(t, err)
	if status.KeyID != primary || encrypt(t, service, seed()).response.KeyID != primary {
		t.Error("a pending key seals already")
	}
}

// The context id keeps tenants apart even if both were given one key under one id (spec §6.3).
func TestEnvelopeOfAnotherContextIsRefused(t *testing.T) {
	p := startPlugin(t)
	keyset, primary := p.readKeyset(t)
	ciphertext, err := Seal(seed(), keyset.Keys[primary], primary, randomBytes(16), nil)
	must(t, err)
	_, err = p.v2(t).Decrypt(t.Context(), "uid", &kmsservice.DecryptRequest{Ciphertext: ciphertext, KeyID: primary})
	wantCode(t, err, codes.InvalidArgument)
}

// Keyset changes are noticed without a restart.
func TestKeySwitchIsNoticedWithinASecond(t *testing.T) {
	p := startPlugin(t)
	service := p.v2(t)
	old := encrypt(t, service, seed())
	id := p.generateKey(t)
	p.promoteKey(t, id)
	promoted := time.Now()
	waitFor(t, 5*time.Second, "the new key in Status", func() error {
		status, err := service.Status(t.Context())
		if err == nil && status.KeyID != id {
			err = errNotYet
		}
		return err
	})
	took := time.Since(promoted)
	t.Logf("FIGURE a promoted key is in Status after %s", took.Round(time.Millisecond))
	if took > time.Second {
		t.Errorf("%s until the new key showed", took)
	}
	if got := encrypt(t, service, seed()).response.KeyID; got != id {
		t.Errorf("Encrypt still names key %s", got)
	}
	wantOpens(t, service, old)
}
