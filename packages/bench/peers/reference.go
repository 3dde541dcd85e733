package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"flag"
)

const (
	annotationKey   = "reference.teapot-kms.example"
	annotationBytes = 60
)

// reference does the least that a plugin can do: AES-256-GCM with a key in memory.
type reference struct {
	aead       cipher.AEAD
	annotation []byte
}

func newReference(flags *flag.FlagSet, args []string) (kms, error) {
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(random(32))
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &reference{aead: aead, annotation: random(annotationBytes)}, nil
}

func (r *reference) keyID() string { return "reference" }

func (r *reference) encrypt(_ context.Context, plaintext []byte) ([]byte, map[string][]byte, error) {
	return r.aead.Seal(nil, nil, plaintext, nil), map[string][]byte{annotationKey: r.annotation}, nil
}

func (r *reference) decrypt(_ context.Context, ciphertext []byte) ([]byte, error) {
	return r.aead.Open(nil, nil, ciphertext, nil)
}

func random(length int) []byte {
	bytes := make([]byte, length)
	_, _ = rand.Read(bytes) // never fails, according to its documentation
	return bytes
}
