package conformance

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apiserver/pkg/features"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	featuregatetesting "k8s.io/component-base/featuregate/testing"
)

func (c *calls) want(t *testing.T, when string, encrypts, decrypts int64) {
	t.Helper()
	if e, d := c.encrypt.Load(), c.decrypt.Load(); e != encrypts || d != decrypts {
		t.Errorf("%s: %d Encrypts and %d Decrypts, want %d and %d", when, e, d, encrypts, decrypts)
	}
}

func TestV2OneSeedForAllWrites(t *testing.T) {
	p := startPlugin(t)
	server := loadAPIServer(t, p, "v2")
	must(t, server.health())
	secrets := server.mustWrite(t, 1_000)
	server.wantRead(t, secrets, false)
	server.calls.want(t, "1,000 writes and reads", 1, 0)

	restarted := loadAPIServer(t, p, "v2")
	restarted.wantRead(t, secrets, false)
	restarted.calls.want(t, "a restart and 1,000 reads", 2, 1)
}

// The whole of a rotation, with a restart of kube-apiserver in the place of its next look at Status.
func TestV2RotationOverARestart(t *testing.T) {
	p := startPlugin(t)
	before := loadAPIServer(t, p, "v2")
	oldSecrets := before.mustWrite(t, 10)
	_, oldKey := p.readKeyset(t)
	p.switchKey(t)

	after := loadAPIServer(t, p, "v2")
	must(t, after.health())
	after.wantRead(t, oldSecrets, true)
	rewritten := after.mustWrite(t, 10)
	after.wantRead(t, rewritten, false)

	p.retireKey(t, oldKey)
	waitFor(t, callTimeout, "the retired key's refusal", func() error {
		_, _, err := loadAPIServer(t, p, "v2").TransformFromStorage(t.Context(), oldSecrets[0].stored, oldSecrets[0].key)
		if status.Code(err) == codes.FailedPrecondition {
			return nil
		}
		return err
	})
	last := loadAPIServer(t, p, "v2")
	must(t, last.health())
	last.wantRead(t, rewritten, false)
}

// A kube-apiserver that runs on looks at Status again when its last look is 20 s old: this test waits for that.
func TestV2RotationWhileRunning(t *testing.T) {
	t.Parallel()
	p := startPlugin(t)
	server := loadAPIServer(t, p, "v2")
	oldSecrets := server.mustWrite(t, 10)
	p.switchKey(t)
	waitFor(t, callTimeout*10, "the rotation", func() error {
		must(t, server.health()) // it must never turn red on the way
		_, stale, err := server.TransformFromStorage(t.Context(), oldSecrets[0].stored, oldSecrets[0].key)
		if err == nil && !stale {
			err = errNotYet
		}
		return err
	})
	server.wantRead(t, oldSecrets, true)
	server.wantRead(t, server.mustWrite(t, 10), false)
	server.calls.want(t, "a rotation", 2, 0)
}

// kube-apiserver asks Status, then Encrypt, and turns red when they differ (design D1). Keys are switched all the while.
func TestStatusAndEncryptAgreeWhileKeysSwitch(t *testing.T) {
	p := startPlugin(t)
	service := p.v2(t)
	ids := make([]string, 6)
	for index := range ids {
		ids[index] = p.generateKey(t)
	}
	switched := make(chan struct{})
	go func() {
		defer close(switched)
		for _, id := range ids {
			p.promoteKey(t, id)
		}
	}()
	seen := map[string]bool{}
	rounds := 0
	for running := true; running || !seen[ids[len(ids)-1]]; rounds++ {
		select {
		case <-switched:
			running = false
		default:
		}
		status, err := service.Status(t.Context())
		must(t, err)
		if got := encrypt(t, service, seed()).response.KeyID; got != status.KeyID {
			t.Fatalf("round %d: Status says %s, Encrypt %s", rounds, status.KeyID, got)
		}
		seen[status.KeyID] = true
	}
	t.Logf("%d rounds, %d keys seen", rounds, len(seen))
	if len(seen) < 3 {
		t.Errorf("only %d keys were seen: nothing is shown", len(seen))
	}
}

func TestV1OneKeyForEachWrite(t *testing.T) {
	featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, features.KMSv1, true)
	p := startPlugin(t)
	server := loadAPIServer(t, p, "v1")
	must(t, server.health())
	secrets := server.mustWrite(t, 200)
	server.wantRead(t, secrets, false)

	restarted := loadAPIServer(t, p, "v1")
	restarted.wantRead(t, secrets, false)

	// KMS v1 knows no key ids: old data opens on, and does not count as stale.
	p.switchKey(t)
	later := loadAPIServer(t, p, "v1")
	must(t, later.health())
	later.wantRead(t, secrets, false)
	later.wantRead(t, later.mustWrite(t, 10), false)
}

// The move from KMS v1 to v2 with one plugin and one keyset.
func TestV1DataIsReadBesideV2(t *testing.T) {
	featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, features.KMSv1, true)
	p := startPlugin(t)
	v1 := loadAPIServer(t, p, "v1")
	secrets := v1.mustWrite(t, 5)
	v2 := loadAPIServer(t, p, "v2")
	v2.wantRead(t, v2.mustWrite(t, 5), false)
	v1.wantRead(t, secrets, false)
}
