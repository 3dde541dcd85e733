package main

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
)

// barbican works like barbican-kms-plugin: each call is one GET of the payload of the secret, and AES-CBC with it.
type barbican struct {
	client  *http.Client
	payload string
	token   string
	secret  string
}

// credential is an application credential of Keystone.
type credential struct {
	ID     string `json:"id"`
	Secret string `json:"secret"`
}

// keptConnections is the number of idle connections to Barbican, enough for every call in flight.
const keptConnections = 64

func newBarbican(flags *flag.FlagSet, args []string) (kms, error) {
	keystone := flags.String("keystone", "", "URL of Keystone")
	url := flags.String("barbican", "", "URL of Barbican")
	secret := flags.String("secret", "", "UUID of the secret that holds the key")
	credentialFile := flags.String("credential-file", "", "JSON file with id and secret of an application credential")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(*credentialFile)
	if err != nil {
		return nil, err
	}
	var login credential
	if err := json.Unmarshal(text, &login); err != nil {
		return nil, fmt.Errorf("%s: %w", *credentialFile, err)
	}
	b := &barbican{
		client:  &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: keptConnections}},
		payload: fmt.Sprintf("%s/v1/secrets/%s/payload", *url, *secret),
		secret:  *secret,
	}
	b.token, err = b.logIn(*keystone, login)
	return b, err
}

// logIn fetches a token. All calls use it.
func (b *barbican) logIn(keystone string, login credential) (string, error) {
	body, err := json.Marshal(map[string]any{"auth": map[string]any{"identity": map[string]any{
		"methods": []string{"application_credential"}, "application_credential": login,
	}}})
	if err != nil {
		return "", err
	}
	answer, err := b.client.Post(keystone+"/v3/auth/tokens", "application/json", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusCreated {
		return "", fmt.Errorf("Keystone: %s", answer.Status)
	}
	return answer.Header.Get("X-Subject-Token"), nil
}

func (b *barbican) cipher(ctx context.Context) (cipher.Block, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.payload, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("X-Auth-Token", b.token)
	request.Header.Set("Accept", "application/octet-stream")
	answer, err := b.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	key, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("Barbican: %s", answer.Status)
	}
	return aes.NewCipher(key)
}

func (b *barbican) keyID() string { return b.secret }

func (b *barbican) encrypt(ctx context.Context, plaintext []byte) ([]byte, map[string][]byte, error) {
	block, err := b.cipher(ctx)
	if err != nil {
		return nil, nil, err
	}
	iv := random(aes.BlockSize)
	padding := aes.BlockSize - len(plaintext)%aes.BlockSize
	padded := append(bytes.Clone(plaintext), bytes.Repeat([]byte{byte(padding)}, padding)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(padded, padded)
	return append(iv, padded...), nil, nil
}

func (b *barbican) decrypt(ctx context.Context, ciphertext []byte) ([]byte, error) {
	block, err := b.cipher(ctx)
	if err != nil {
		return nil, err
	}
	if len(ciphertext) < 2*aes.BlockSize || len(ciphertext)%aes.BlockSize != 0 {
		return nil, errors.New("the ciphertext is not a multiple of the block size")
	}
	padded := bytes.Clone(ciphertext[aes.BlockSize:])
	cipher.NewCBCDecrypter(block, ciphertext[:aes.BlockSize]).CryptBlocks(padded, padded)
	padding := int(padded[len(padded)-1])
	if padding == 0 || padding > aes.BlockSize {
		return nil, errors.New("the padding is invalid")
	}
	return padded[:len(padded)-padding], nil
}
