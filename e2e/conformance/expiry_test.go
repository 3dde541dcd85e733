package conformance

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

var errNotYet = errors.New("not yet")

// kube-apiserver writes on with a seed for three minutes after the last Status that was an answer; it reads for ever.
const writesExpireAfter = 3 * time.Minute

// Trouble with the key store is told in healthz, with the key_id beside it (design D3): kube-apiserver turns red and
// goes on writing for as long as it lasts.
func TestStoreTroubleTurnsRedAndWritesGoOn(t *testing.T) {
	t.Parallel()
	p := startPlugin(t, "statusGrace: 1s", "probeInterval: 200ms")
	clock := setClock(t)
	server := loadAPIServer(t, p, "v2")
	secrets := server.mustWrite(t, 10)
	_, keyID := p.readKeyset(t)

	away := p.keyset + "-away"
	must(t, os.Rename(p.keyset, away))
	service := p.v2(t)
	waitFor(t, callTimeout*5, "a healthz that is not ok", func() error {
		status, err := service.Status(t.Context())
		must(t, err) // never a gRPC error
		if status.KeyID != keyID {
			t.Fatalf("key_id is %q, not %q", status.KeyID, keyID)
		}
		if status.Healthz == "ok" {
			return errNotYet
		}
		t.Logf("healthz: %s", status.Healthz)
		return nil
	})

	for range 3 {
		err := server.waitForHealth(t, false)
		if !strings.Contains(err.Error(), "got unexpected healthz status: ") {
			t.Fatalf("another error than healthz: %v", err)
		}
		clock.advance(writesExpireAfter - 10*time.Second)
		server.wantRead(t, server.mustWrite(t, 10), false)
		waitForNextLook()
	}
	server.calls.want(t, "trouble", 1, 0)
	// Not only the running one: a kube-apiserver that starts now reads, and writes too.
	restarted := loadAPIServer(t, p, "v2")
	restarted.wantRead(t, secrets, false)
	restarted.wantRead(t, restarted.mustWrite(t, 10), false)

	must(t, os.Rename(away, p.keyset))
	must(t, server.waitForHealth(t, true))
}

// waitForNextLook waits until kube-apiserver does not answer from the bad result that it has had for 3 s.
func waitForNextLook() { time.Sleep(3*time.Second + 100*time.Millisecond) }

// A plugin that is away is a gRPC error: writes end after three minutes, reads go on, and all is well once it is back.
func TestPluginAwayEndsWritesAfterThreeMinutes(t *testing.T) {
	t.Parallel()
	p := startPlugin(t)
	clock := setClock(t)
	server := loadAPIServer(t, p, "v2")
	secrets := server.mustWrite(t, 10)

	p.stop(t)
	_ = server.waitForHealth(t, false)
	clock.advance(writesExpireAfter - time.Minute)
	secrets = append(secrets, server.mustWrite(t, 10)...)
	clock.advance(time.Minute)
	if _, err := server.write(0); err == nil || !strings.Contains(err.Error(), "expired at") {
		t.Fatalf("a write after three minutes: %v", err)
	}
	server.wantRead(t, secrets, false)

	p.start(t)
	back := time.Now()
	must(t, server.waitForHealth(t, true))
	t.Logf("FIGURE kube-apiserver is healthy %s after a plugin that was away for some 25 s is back", time.Since(back).Round(time.Millisecond))
	server.wantRead(t, append(secrets, server.mustWrite(t, 10)...), false)
}

// A kube-apiserver that starts before its plugin.
func TestPluginStartsAfterTheAPIServer(t *testing.T) {
	t.Parallel()
	p := newPlugin(t)
	server := loadAPIServer(t, p, "v2")
	if _, err := server.write(0); err == nil {
		t.Fatal("a write without a plugin")
	}
	p.start(t)
	must(t, server.waitForHealth(t, true))
	server.wantRead(t, server.mustWrite(t, 10), false)
}
