//go:build cgo

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/miekg/pkcs11"
)

func init() { peers["pkcs11"] = newToken }

// token works like other PKCS#11 plugins. Each call looks the key up by its label and again by its CKA_ID, then the token does
// AES-GCM.
type token struct {
	module   *pkcs11.Ctx
	label    string
	sessions chan pkcs11.SessionHandle
}

// As in the Thales plugin, the token makes 16 bytes of IV, and the tag has 128 bits.
const (
	ivBytes = 16
	tagBits = 128
)

func newToken(flags *flag.FlagSet, args []string) (kms, error) {
	path := flags.String("module", "", "path of the PKCS#11 module")
	tokenLabel := flags.String("token", "", "label of the token")
	label := flags.String("object", "", "label of the AES key, which is created if it is missing")
	pinFile := flags.String("pin-file", "", "file with the PIN")
	sessions := flags.Int("sessions", 8, "number of sessions; each serves one call at a time")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	pin, err := os.ReadFile(*pinFile)
	if err != nil {
		return nil, err
	}
	module := pkcs11.New(*path)
	if module == nil {
		return nil, fmt.Errorf("%s is not a PKCS#11 module", *path)
	}
	if err := module.Initialize(); err != nil {
		return nil, err
	}
	t := &token{module: module, label: *label, sessions: make(chan pkcs11.SessionHandle, *sessions)}
	slot, err := t.slot(*tokenLabel)
	if err != nil {
		return nil, err
	}
	for i := range *sessions {
		session, err := module.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			if err := module.Login(session, pkcs11.CKU_USER, strings.TrimSpace(string(pin))); err != nil {
				return nil, err
			}
			if err := t.ensureKey(session); err != nil {
				return nil, err
			}
		}
		t.sessions <- session
	}
	return t, nil
}

func (t *token) slot(label string) (uint, error) {
	slots, err := t.module.GetSlotList(true)
	if err != nil {
		return 0, err
	}
	for _, slot := range slots {
		if info, err := t.module.GetTokenInfo(slot); err == nil && info.Label == label {
			return slot, nil
		}
	}
	return 0, fmt.Errorf("no token has the label %q", label)
}

func (t *token) ensureKey(session pkcs11.SessionHandle) error {
	if _, err := t.findOne(session, pkcs11.NewAttribute(pkcs11.CKA_LABEL, t.label)); err == nil {
		return nil
	}
	_, err := t.module.GenerateKey(session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_KEY_GEN, nil)}, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, t.label),
		pkcs11.NewAttribute(pkcs11.CKA_ID, random(16)),
		pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, 32),
		pkcs11.NewAttribute(pkcs11.CKA_ENCRYPT, true),
		pkcs11.NewAttribute(pkcs11.CKA_DECRYPT, true),
	})
	return err
}

func (t *token) findOne(session pkcs11.SessionHandle, by *pkcs11.Attribute) (pkcs11.ObjectHandle, error) {
	template := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY), by}
	if err := t.module.FindObjectsInit(session, template); err != nil {
		return 0, err
	}
	found, _, err := t.module.FindObjects(session, 1)
	if err := errors.Join(err, t.module.FindObjectsFinal(session)); err != nil {
		return 0, err
	}
	if len(found) == 0 {
		return 0, errors.New("the token has no such key")
	}
	return found[0], nil
}

// find looks the key up twice, as those plugins do.
func (t *token) find(session pkcs11.SessionHandle) (pkcs11.ObjectHandle, error) {
	byLabel, err := t.findOne(session, pkcs11.NewAttribute(pkcs11.CKA_LABEL, t.label))
	if err != nil {
		return 0, err
	}
	id, err := t.module.GetAttributeValue(session, byLabel, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_ID, nil)})
	if err != nil {
		return 0, err
	}
	return t.findOne(session, pkcs11.NewAttribute(pkcs11.CKA_ID, id[0].Value))
}

func (t *token) gcm(iv []byte) ([]*pkcs11.Mechanism, *pkcs11.GCMParams) {
	params := pkcs11.NewGCMParams(iv, []byte(t.label), tagBits)
	return []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_GCM, params)}, params
}

func (t *token) keyID() string { return t.label }

func (t *token) encrypt(_ context.Context, plaintext []byte) ([]byte, map[string][]byte, error) {
	session := <-t.sessions
	defer func() { t.sessions <- session }()
	key, err := t.find(session)
	if err != nil {
		return nil, nil, err
	}
	iv, err := t.module.GenerateRandom(session, ivBytes)
	if err != nil {
		return nil, nil, err
	}
	mechanism, params := t.gcm(iv)
	defer params.Free()
	if err := t.module.EncryptInit(session, mechanism, key); err != nil {
		return nil, nil, err
	}
	sealed, err := t.module.Encrypt(session, plaintext)
	return append(iv, sealed...), nil, err
}

func (t *token) decrypt(_ context.Context, ciphertext []byte) ([]byte, error) {
	session := <-t.sessions
	defer func() { t.sessions <- session }()
	if len(ciphertext) < ivBytes {
		return nil, errors.New("the ciphertext is shorter than its IV")
	}
	key, err := t.find(session)
	if err != nil {
		return nil, err
	}
	mechanism, params := t.gcm(ciphertext[:ivBytes])
	defer params.Free()
	if err := t.module.DecryptInit(session, mechanism, key); err != nil {
		return nil, err
	}
	return t.module.Decrypt(session, ciphertext[ivBytes:])
}
