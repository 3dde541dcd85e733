package conformance

import (
	"bytes"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2"
	kmstypes "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2/v2"
)

func TestV2StatusEncryptDecrypt(t *testing.T) {
	service := startPlugin(t).v2(t)
	status, err := service.Status(t.Context())
	must(t, err)
	if status.Healthz != "ok" || status.Version != "v2" {
		t.Errorf("Status says healthz %q, version %q", status.Healthz, status.Version)
	}
	if _, err := kmsv2.ValidateKeyID(status.KeyID); err != nil || len(status.KeyID) > 64 {
		t.Errorf("key_id %q of %d bytes: %v", status.KeyID, len(status.KeyID), err)
	}
	first := encrypt(t, service, seed())
	if first.response.KeyID != status.KeyID {
		t.Errorf("Encrypt names key %q, Status %q: kube-apiserver would throw the answer away", first.response.KeyID, status.KeyID)
	}
	wantOpens(t, service, first)
	again := encrypt(t, service, first.plaintext)
	if bytes.Equal(again.response.Ciphertext, first.response.Ciphertext) {
		t.Error("two Encrypts of one plaintext gave one ciphertext")
	}
}

// kube-apiserver validates what it is going to store, and stores it again with every object.
func TestV2ResponseIsValidAndSmall(t *testing.T) {
	response := encrypt(t, startPlugin(t).v2(t), seed()).response
	must(t, kmsv2.ValidateEncryptedObject(&kmstypes.EncryptedObject{
		EncryptedData:          []byte{0},
		KeyID:                  response.KeyID,
		EncryptedDEKSource:     response.Ciphertext,
		Annotations:            response.Annotations,
		EncryptedDEKSourceType: kmstypes.EncryptedDEKSourceType_HKDF_SHA256_XNONCE_AES_GCM_SEED,
	}))
	size := len(response.Ciphertext) + len(response.KeyID)
	for key, value := range response.Annotations {
		size += len(key) + len(value)
	}
	t.Logf("FIGURE bytes stored with each object (ciphertext + key_id + annotations): %d", size)
	if size > 160 {
		t.Errorf("%d bytes for a 32-byte seed, at most 160 are allowed", size)
	}
}

func TestV2PlaintextLengths(t *testing.T) {
	service := startPlugin(t).v2(t)
	// The longest whose envelope is still one of KMS v2, with a key id of 26 characters.
	const longest = 1024 - (105 - 32)
	for _, length := range []int{1, 4, 16, 31, 32, 33, 64, longest} {
		wantOpens(t, service, encrypt(t, service, randomBytes(length)))
	}
	for _, length := range []int{0, longest + 1, 65_536} {
		_, err := service.Encrypt(t.Context(), "uid", make([]byte, length))
		t.Run(fmt.Sprintf("%d bytes refused", length), func(t *testing.T) { wantCode(t, err, codes.InvalidArgument) })
	}
}

// The version check is the client's own: it calls Version before its first Encrypt and fails that on another answer.
func TestV1EncryptDecrypt(t *testing.T) {
	service := startPlugin(t).v1(t)
	for _, plaintext := range [][]byte{
		[]byte("ping"), randomBytes(1), randomBytes(16), randomBytes(24), randomBytes(32), randomBytes(33), randomBytes(1_021), randomBytes(64_912),
	} {
		cipher, err := service.Encrypt(plaintext)
		if err != nil {
			t.Errorf("Encrypt of %d bytes: %v", len(plaintext), err)
			continue
		}
		if len(cipher) == 0 || len(cipher) > 65_535 {
			t.Errorf("a ciphertext of %d bytes cannot be stored by KMS v1", len(cipher))
		}
		opened, err := service.Decrypt(cipher)
		if err != nil || !bytes.Equal(opened, plaintext) {
			t.Errorf("Decrypt of %d bytes: %v, right plaintext: %t", len(plaintext), err, bytes.Equal(opened, plaintext))
		}
	}
	for _, length := range []int{0, 64_913} {
		_, err := service.Encrypt(make([]byte, length))
		t.Run(fmt.Sprintf("%d bytes refused", length), func(t *testing.T) { wantCode(t, err, codes.InvalidArgument) })
	}
}

// Both APIs are on the one socket and make one envelope, so a cluster can move from v1 to v2 without a second keyset.
func TestEnvelopeIsTheSameInBothAPIs(t *testing.T) {
	p := startPlugin(t)
	v1, v2 := p.v1(t), p.v2(t)
	cipher, err := v1.Encrypt(seed())
	must(t, err)
	bySize := encrypt(t, v2, seed())
	if len(cipher) != len(bySize.response.Ciphertext) {
		t.Errorf("v1 makes %d bytes, v2 %d", len(cipher), len(bySize.response.Ciphertext))
	}
	plain, err := v1.Decrypt(bySize.response.Ciphertext)
	if err != nil || !bytes.Equal(plain, bySize.plaintext) {
		t.Errorf("v1 Decrypt of what v2 encrypted: %v", err)
	}
}
