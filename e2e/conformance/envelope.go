// Package conformance tests the plugin with kube-apiserver's own client code.
//
// This file is the second implementation of docs/spec/envelope-v1.md, written from that text alone and not from
// packages/core, so that what both agree on is what the text says.
package conformance

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"regexp"

	"filippo.io/xaes256gcm"
)

// Rejects (§9).
const (
	LimitExceeded        = "ERR_KMS_LIMIT_EXCEEDED"
	EnvelopeMalformed    = "ERR_KMS_ENVELOPE_MALFORMED"
	EnvelopeVersion      = "ERR_KMS_ENVELOPE_VERSION"
	KeyIDMismatch        = "ERR_KMS_KEY_ID_MISMATCH"
	AuthenticationFailed = "ERR_KMS_AUTHENTICATION_FAILED"
	UnwrapFailed         = "ERR_KMS_UNWRAP_FAILED"
	UnknownKey           = "ERR_KMS_UNKNOWN_KEY"
	KeyRetired           = "ERR_KMS_KEY_RETIRED"
)

// Limits (§8) and lengths (§5.1).
const (
	maxEnvelope  = 65_535
	maxPlaintext = 64_912
	maxKeyID     = 64
	maxWrapped   = 512
	minEnvelope  = 7
	keyLength    = 32
	tagLength    = xaes256gcm.OverheadWithManualNonces

	magic   = "TK"
	version = 1
	suite   = 1
)

// keyIDPattern is §5.2 without its length, which §7.2 checks in a step of its own.
var keyIDPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)

// Reject is why an envelope cannot be made or opened.
type Reject struct{ Code string }

func (r *Reject) Error() string { return r.Code }

func reject(code string) error { return &Reject{Code: code} }

// Keyset is what Open needs to know of an instance.
type Keyset struct {
	ContextID []byte
	// Keys has the KEK by key id. Where the KEK is in a token its bytes are not known, only its id.
	Keys map[string][]byte
	// Retired has the ids of keys that are known and not used any more.
	Retired map[string]bool
	// Unwrap asks the token, nil where the KEK is in memory.
	Unwrap func(keyID string, wrapped []byte) ([]byte, error)
}

// Seal makes an envelope (§7.1). wrapped is empty where sealingKey is the KEK itself.
func Seal(plaintext, sealingKey []byte, keyID string, contextID, wrapped []byte) ([]byte, error) {
	nonce := make([]byte, xaes256gcm.NonceSize)
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	return sealWithNonce(plaintext, sealingKey, keyID, contextID, wrapped, nonce)
}

func sealWithNonce(plaintext, sealingKey []byte, keyID string, contextID, wrapped, nonce []byte) ([]byte, error) {
	if len(plaintext) == 0 || len(plaintext) > maxPlaintext {
		return nil, reject(LimitExceeded)
	}
	if len(keyID) > maxKeyID || !keyIDPattern.MatchString(keyID) || len(wrapped) > maxWrapped {
		return nil, fmt.Errorf("no header can be made for key id %q and %d wrapped bytes", keyID, len(wrapped))
	}
	header := append([]byte(magic), version, suite, byte(len(keyID)))
	header = append(header, keyID...)
	header = binary.BigEndian.AppendUint16(header, uint16(len(wrapped)))
	header = append(header, wrapped...)
	aead, err := xaes256gcm.NewWithManualNonces(sealingKey)
	if err != nil {
		return nil, err
	}
	envelope := append(header[:len(header):len(header)], nonce...)
	return aead.Seal(envelope, nonce, plaintext, associatedData(contextID, header)), nil
}

// associatedData is §6.3.
func associatedData(contextID, header []byte) []byte {
	data := append([]byte("teapot-kms/envelope/v1"), contextID...)
	return append(data, header...)
}

// parts of an envelope (§5.1); all of them lie in the envelope's own bytes.
type parts struct {
	header, wrapped, nonce, sealed []byte
	keyID                          string
}

// parse is steps 1 to 6 of §7.2, in this order, because the order decides which reject a damaged envelope gets.
func parse(envelope []byte) (*parts, error) {
	if len(envelope) > maxEnvelope {
		return nil, reject(LimitExceeded)
	}
	if len(envelope) < minEnvelope || string(envelope[:2]) != magic {
		return nil, reject(EnvelopeMalformed)
	}
	if envelope[2] != version || envelope[3] != suite {
		return nil, reject(EnvelopeVersion)
	}
	keyIDLength := int(envelope[4])
	if keyIDLength == 0 || keyIDLength > maxKeyID {
		return nil, reject(LimitExceeded)
	}
	keyIDEnd := 5 + keyIDLength
	if len(envelope) < keyIDEnd+2 {
		return nil, reject(EnvelopeMalformed)
	}
	wrappedLength := int(binary.BigEndian.Uint16(envelope[keyIDEnd:]))
	if wrappedLength > maxWrapped {
		return nil, reject(LimitExceeded)
	}
	headerEnd := keyIDEnd + 2 + wrappedLength
	sealedStart := headerEnd + xaes256gcm.NonceSize
	switch {
	case len(envelope) < sealedStart+tagLength:
		return nil, reject(EnvelopeMalformed)
	case len(envelope) == sealedStart+tagLength:
		return nil, reject(LimitExceeded)
	}
	keyID := string(envelope[5:keyIDEnd])
	if !keyIDPattern.MatchString(keyID) {
		return nil, reject(EnvelopeMalformed)
	}
	return &parts{
		keyID:   keyID,
		header:  envelope[:headerEnd],
		wrapped: envelope[keyIDEnd+2 : headerEnd],
		nonce:   envelope[headerEnd:sealedStart],
		sealed:  envelope[sealedStart:],
	}, nil
}

// Open opens an envelope (§7.2). requestKeyID is the key id of a KMS v2 request, nil for KMS v1.
func Open(envelope []byte, keyset *Keyset, requestKeyID *string) ([]byte, error) {
	parts, err := parse(envelope)
	if err != nil {
		return nil, err
	}
	if requestKeyID != nil && *requestKeyID != parts.keyID {
		return nil, reject(KeyIDMismatch)
	}
	inToken := keyset.Unwrap != nil
	if inToken != (len(parts.wrapped) > 0) {
		return nil, reject(AuthenticationFailed)
	}
	if keyset.Retired[parts.keyID] {
		return nil, reject(KeyRetired)
	}
	sealingKey, known := keyset.Keys[parts.keyID]
	if !known {
		return nil, reject(UnknownKey)
	}
	if inToken {
		sealingKey, err = keyset.Unwrap(parts.keyID, parts.wrapped)
		if err != nil || len(sealingKey) != keyLength {
			return nil, reject(UnwrapFailed)
		}
	}
	aead, err := xaes256gcm.NewWithManualNonces(sealingKey)
	if err != nil {
		return nil, err
	}
	plaintext, err := aead.Open(nil, parts.nonce, parts.sealed, associatedData(keyset.ContextID, parts.header))
	if err != nil {
		return nil, reject(AuthenticationFailed)
	}
	return plaintext, nil
}
