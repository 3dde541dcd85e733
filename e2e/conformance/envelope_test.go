package conformance

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/xaes256gcm"
)

const vectorDirectory = "../../packages/core/test/vectors/envelope-v1"

// codesOf says which rejects of §9 an `expect` of §12 may stand for.
var codesOf = map[string][]string{
	"success":             {""},
	"header-failure":      {EnvelopeMalformed},
	"unsupported-version": {EnvelopeVersion},
	"limit-failure":       {LimitExceeded},
	"key-id-mismatch":     {KeyIDMismatch},
	"no-match":            {UnknownKey, KeyRetired},
	"unwrap-failure":      {UnwrapFailed},
	"tag-failure":         {AuthenticationFailed},
}

// vector is one file, with the fields of §12 and no others.
type vector struct {
	Name, Comment, Clause, Expect, Code string
	ContextID                           string `json:"contextId"`
	Keys                                map[string]string
	RequestKeyID                        *string            `json:"requestKeyId"`
	Unwrapped                           map[string]*string `json:"unwrapped"`
	Ciphertext                          string
	PlaintextSHA256                     string `json:"plaintextSha256"`
}

func TestVectors(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(vectorDirectory, "*.json"))
	must(t, err)
	if len(files) == 0 {
		t.Fatalf("no vectors in %s", vectorDirectory)
	}
	seen := map[string]int{}
	for _, file := range files {
		v := readVector(t, file)
		seen[v.Expect]++
		t.Run(v.Name, func(t *testing.T) { v.run(t) })
	}
	for expect := range codesOf {
		if seen[expect] == 0 {
			t.Errorf("no vector expects %q", expect)
		}
	}
	t.Logf("FIGURE envelope vectors: %d", len(files))
}

func readVector(t *testing.T, file string) *vector {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	v := &vector{}
	if err := decoder.Decode(v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if v.Name != strings.TrimSuffix(filepath.Base(file), ".json") {
		t.Errorf("%s: names itself %q", file, v.Name)
	}
	return v
}

func (v *vector) run(t *testing.T) {
	ciphertext := fromHex(t, v.Ciphertext)
	plaintext, err := Open(ciphertext, v.keyset(t), v.RequestKeyID)
	if got := rejectCode(t, err); got != v.Code {
		t.Fatalf("%s: got %q, want %q", v.Comment, got, v.Code)
	}
	if !contains(codesOf[v.Expect], v.Code) {
		t.Errorf("expects %q, which is not %q", v.Expect, v.Code)
	}
	if v.Expect != "success" {
		return
	}
	if sum := sha256.Sum256(plaintext); hex.EncodeToString(sum[:]) != v.PlaintextSHA256 {
		t.Errorf("another plaintext")
	}
	// Sealing is deterministic but for the nonce: with the vector's it must make the very same bytes.
	parts, err := parse(ciphertext)
	must(t, err)
	again, err := sealWithNonce(plaintext, v.sealingKey(t, parts), parts.keyID, fromHex(t, v.ContextID), parts.wrapped, parts.nonce)
	must(t, err)
	if !bytes.Equal(again, ciphertext) {
		t.Errorf("sealed again it is\n%x, not\n%x", again, ciphertext)
	}
}

func (v *vector) keyset(t *testing.T) *Keyset {
	keyset := &Keyset{ContextID: fromHex(t, v.ContextID), Keys: map[string][]byte{}}
	for id, key := range v.Keys {
		keyset.Keys[id] = fromHex(t, key)
	}
	if v.Unwrapped != nil {
		keyset.Unwrap = func(_ string, wrapped []byte) ([]byte, error) {
			key := v.Unwrapped[hex.EncodeToString(wrapped)]
			if key == nil {
				return nil, errors.New("the token refuses")
			}
			return fromHex(t, *key), nil
		}
	}
	return keyset
}

func (v *vector) sealingKey(t *testing.T, parts *parts) []byte {
	if len(parts.wrapped) == 0 {
		return fromHex(t, v.Keys[parts.keyID])
	}
	return fromHex(t, *v.Unwrapped[hex.EncodeToString(parts.wrapped)])
}

func contains(list []string, element string) bool {
	for _, one := range list {
		if one == element {
			return true
		}
	}
	return false
}

func rejectCode(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	var reject *Reject
	if !errors.As(err, &reject) {
		t.Fatal(err)
	}
	return reject.Code
}

func fromHex(t *testing.T, text string) []byte {
	t.Helper()
	bytes, err := hex.DecodeString(text)
	must(t, err)
	return bytes
}

// The AEAD itself, against C2SP's own vectors: both implementations rest on it.
func TestXAESVectorsOfC2SP(t *testing.T) {
	for _, one := range []struct {
		key                  byte
		additional, expected string
	}{
		{1, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{3, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		aead, err := xaes256gcm.NewWithManualNonces(bytes.Repeat([]byte{one.key}, 32))
		must(t, err)
		got := aead.Seal(nil, []byte("ABCDEFGHIJKLMNOPQRSTUVWX"), []byte("XAES-256-GCM"), []byte(one.additional))
		if hex.EncodeToString(got) != one.expected {
			t.Errorf("key %d: %x, want %s", one.key, got, one.expected)
		}
	}
}

// What the text says of its limits, on both sides of each.
func TestEnvelopeLimits(t *testing.T) {
	keyset := &Keyset{ContextID: make([]byte, 16), Keys: map[string][]byte{}}
	longestID := strings.Repeat("k", 64)
	keyset.Keys[longestID] = make([]byte, 32)
	for _, length := range []int{1, 64_912} {
		envelope, err := Seal(make([]byte, length), keyset.Keys[longestID], longestID, keyset.ContextID, nil)
		must(t, err)
		if opened, err := Open(envelope, keyset, nil); err != nil || len(opened) != length {
			t.Errorf("%d bytes: %v", length, err)
		}
	}
	for _, length := range []int{0, 64_913} {
		if _, err := Seal(make([]byte, length), keyset.Keys[longestID], longestID, keyset.ContextID, nil); rejectCode(t, err) != LimitExceeded {
			t.Errorf("%d bytes: %v", length, err)
		}
	}
	// The longest of everything is exactly the longest envelope (§8).
	longest, err := Seal(make([]byte, 64_912), make([]byte, 32), longestID, keyset.ContextID, make([]byte, 512))
	if err != nil || len(longest) != 65_535 {
		t.Errorf("the longest envelope has %d bytes: %v", len(longest), err)
	}
}
