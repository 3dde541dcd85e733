package conformance

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"sigs.k8s.io/yaml"
)

// A second implementation of docs/spec/keyset-v2.md, written from its text alone.

// keysetManifest has the fields of §3 that §4 and §8 need.
type keysetManifest struct {
	ContextID  string `json:"contextId"`
	Generation int64  `json:"generation"`
	Replaces   string `json:"replaces"`
	Primary    string `json:"primary"`
	Keys       []struct {
		ID    string    `json:"id"`
		State string    `json:"state"`
		Since time.Time `json:"since"`
	} `json:"keys"`
	hash string
}

func parseKeysetManifest(text string) (keysetManifest, error) {
	var m keysetManifest
	if err := yaml.Unmarshal([]byte(text), &m); err != nil {
		return m, err
	}
	sum := sha256.Sum256([]byte(text))
	m.hash = hex.EncodeToString(sum[:])
	return m, nil
}

// relation says what offered is, compared with known (§4, §8).
func relation(offered, known keysetManifest) string {
	switch {
	case offered.ContextID != known.ContextID:
		return "foreign"
	case offered.hash == known.hash:
		return "same"
	case offered.Generation == 0 && known.Generation == 0:
		return relationOfVersion1(offered, known)
	case offered.Generation == known.Generation:
		return "conflict"
	case offered.Generation == known.Generation+1 && offered.Replaces != known.hash:
		return "conflict"
	case offered.Generation > known.Generation:
		return "newer"
	}
	return "older"
}

func relationOfVersion1(offered, known keysetManifest) string {
	if lastChange(offered).After(lastChange(known)) {
		return "newer"
	}
	if offered.Primary != known.Primary {
		return "older"
	}
	kept := map[string]bool{}
	for _, key := range offered.Keys {
		kept[key.ID+key.State+key.Since.String()] = true
	}
	dropped := 0
	for _, key := range known.Keys {
		if kept[key.ID+key.State+key.Since.String()] {
			continue
		}
		if key.State != "retired" {
			return "older"
		}
		dropped++
	}
	if len(offered.Keys)+dropped != len(known.Keys) {
		return "older"
	}
	return "newer"
}

func lastChange(m keysetManifest) (last time.Time) {
	for _, key := range m.Keys {
		if key.Since.After(last) {
			last = key.Since
		}
	}
	return last
}

// derived is HMAC-SHA-256(key, "teapot-kms/keyset/v2/<purpose>" ‖ 00 ‖ context id ‖ key id) (§5.1, §10).
func derived(key []byte, purpose string, contextID []byte, keyID string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("teapot-kms/keyset/v2/" + purpose + "\x00"))
	mac.Write(contextID)
	mac.Write([]byte(keyID))
	return mac.Sum(nil)
}

func checkValueOf(key, contextID []byte, keyID string) string {
	return hex.EncodeToString(derived(key, "check", contextID, keyID)[:16])
}

// replicaReport has the fields of §10, in their order.
type replicaReport struct {
	Report     int         `json:"report"`
	Replica    string      `json:"replica"`
	Host       string      `json:"host"`
	Time       string      `json:"time"`
	Nonce      string      `json:"nonce"`
	ContextID  string      `json:"contextId"`
	Generation int64       `json:"generation"`
	Hash       string      `json:"hash"`
	Reads      []int       `json:"reads"`
	Keys       []reportKey `json:"keys"`
}

type reportKey struct {
	ID  string `json:"id"`
	MAC string `json:"mac,omitempty"`
}

// proves says whether the replica that made the report holds the key.
func (r replicaReport) proves(keyID string, key []byte) bool {
	claimed := ""
	body := r
	body.Keys = nil
	for _, one := range r.Keys {
		body.Keys = append(body.Keys, reportKey{ID: one.ID})
		if one.ID == keyID {
			claimed = one.MAC
		}
	}
	contextID, err := hex.DecodeString(r.ContextID)
	if err != nil || claimed == "" {
		return false
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(body) != nil {
		return false
	}
	mac := hmac.New(sha256.New, derived(key, "report", contextID, keyID))
	mac.Write(bytes.TrimSuffix(text.Bytes(), []byte("\n")))
	expected, err := hex.DecodeString(claimed)
	return err == nil && hmac.Equal(mac.Sum(nil), expected)
}
