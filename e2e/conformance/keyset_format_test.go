package conformance

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const keysetVectors = "../../packages/core/test/vectors/keyset-v2"

func readKeysetVectors(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(keysetVectors, name))
	must(t, err)
	must(t, json.Unmarshal(text, into))
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	decoded, err := hex.DecodeString(text)
	must(t, err)
	return decoded
}

func TestKeysetCheckValues(t *testing.T) {
	var vectors []struct{ Key, ContextID, KeyID, Check string }
	readKeysetVectors(t, "check-values.json", &vectors)
	for _, v := range vectors {
		if got := checkValueOf(unhex(t, v.Key), unhex(t, v.ContextID), v.KeyID); got != v.Check {
			t.Errorf("key %s, id %s: check value %s, expected %s", v.Key, v.KeyID, got, v.Check)
		}
	}
	if len(vectors) < 5 {
		t.Fatalf("only %d vectors", len(vectors))
	}
}

func TestKeysetSuccession(t *testing.T) {
	var vectors []struct{ Name, Known, Offered, Relation string }
	readKeysetVectors(t, "succession.json", &vectors)
	seen := map[string]bool{}
	for _, v := range vectors {
		known, err := parseKeysetManifest(v.Known)
		must(t, err)
		offered, err := parseKeysetManifest(v.Offered)
		must(t, err)
		if got := relation(offered, known); got != v.Relation {
			t.Errorf("%s: %s, expected %s", v.Name, got, v.Relation)
		}
		seen[v.Relation] = true
	}
	for _, one := range []string{"same", "newer", "older", "conflict", "foreign"} {
		if !seen[one] {
			t.Errorf("no vector for %q", one)
		}
	}
}

func TestKeysetReports(t *testing.T) {
	var vectors []struct {
		Name, KeyID, Key string
		Report           replicaReport
		Proves           bool
	}
	readKeysetVectors(t, "reports.json", &vectors)
	for _, v := range vectors {
		if got := v.Report.proves(v.KeyID, unhex(t, v.Key)); got != v.Proves {
			t.Errorf("%s: proves %v, expected %v", v.Name, got, v.Proves)
		}
	}
	if len(vectors) < 7 {
		t.Fatalf("only %d vectors", len(vectors))
	}
}

// The plugin's own keyset and report, as they are on a node.
func TestKeysetOfThePlugin(t *testing.T) {
	p := startPlugin(t)
	_, id := p.readKeyset(t)
	key, err := os.ReadFile(filepath.Join(p.keyset, id+".key"))
	must(t, err)
	text, err := os.ReadFile(filepath.Join(p.keyset, "keyset.yaml"))
	must(t, err)
	m, err := parseKeysetManifest(string(text))
	must(t, err)
	check := checkValueOf(key, unhex(t, m.ContextID), id)
	if !strings.Contains(string(text), "check: "+check) && !strings.Contains(string(text), "check: \""+check+"\"") {
		t.Errorf("check value %s is not in\n%s", check, text)
	}
	output, err := pluginCommand(t, "status", "--report", "--socket", p.socket).Output()
	if failed, ok := err.(*exec.ExitError); ok {
		t.Fatalf("%s", failed.Stderr)
	}
	must(t, err)
	var report replicaReport
	must(t, json.Unmarshal(output, &report))
	if !report.proves(id, key) || report.Hash != m.hash {
		t.Errorf("the report does not prove key %s of manifest %s: %s", id, m.hash, output)
	}
}
