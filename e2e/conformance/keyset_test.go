package conformance

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"
)

// manifest is keyset.yaml as design D11 has it.
type manifest struct {
	FormatVersion int
	ContextID     string
	Primary       string
	Keys          []struct{ ID, State string }
}

// readKeyset reads the plugin's keyset directory, as another replica would.
func (p *plugin) readKeyset(t *testing.T) (*Keyset, string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(p.keyset, "keyset.yaml"))
	must(t, err)
	var read manifest
	must(t, yaml.Unmarshal(text, &read))
	if read.FormatVersion != 2 {
		t.Fatalf("keyset format %d, want 2", read.FormatVersion)
	}
	contextID, err := hex.DecodeString(read.ContextID)
	must(t, err)
	keyset := &Keyset{ContextID: contextID, Keys: map[string][]byte{}, Retired: map[string]bool{}}
	for _, key := range read.Keys {
		if key.State == "retired" {
			keyset.Retired[key.ID] = true
			continue
		}
		keyset.Keys[key.ID], err = os.ReadFile(filepath.Join(p.keyset, key.ID+".key"))
		must(t, err)
	}
	return keyset, read.Primary
}
