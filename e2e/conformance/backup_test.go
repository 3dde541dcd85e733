package conformance

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"filippo.io/age"
)

// A backup of the plugin opens with age's own library and tar (docs/spec/keyset-v2.md §11).
func TestBackupOpensWithAge(t *testing.T) {
	p := startPlugin(t)
	identity, err := age.GenerateX25519Identity()
	must(t, err)
	out := filepath.Join(t.TempDir(), "backup.age")
	command := pluginCommand(t, "keys", "export", "--uri", "file:"+p.keyset, "--recipient", identity.Recipient().String(), "--out", out)
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s: %s", err, output)
	}
	file, err := os.Open(out)
	must(t, err)
	defer file.Close()
	plaintext, err := age.Decrypt(file, identity)
	must(t, err)
	archive, found := tar.NewReader(plaintext), map[string][]byte{}
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		found[header.Name], err = io.ReadAll(archive)
		must(t, err)
	}
	entries, err := os.ReadDir(p.keyset)
	must(t, err)
	for _, entry := range entries {
		want, err := os.ReadFile(filepath.Join(p.keyset, entry.Name()))
		must(t, err)
		if !bytes.Equal(found[entry.Name()], want) {
			t.Errorf("%s differs in the backup", entry.Name())
		}
	}
	if len(found) != len(entries) || len(found) < 2 {
		t.Errorf("%d files in the backup, %d in the keyset", len(found), len(entries))
	}
}

// What age's own library has encrypted is imported.
func TestBackupMadeByAgeIsImported(t *testing.T) {
	p := startPlugin(t)
	identity, err := age.GenerateX25519Identity()
	must(t, err)
	directory := t.TempDir()
	var file bytes.Buffer
	encrypted, err := age.Encrypt(&file, identity.Recipient())
	must(t, err)
	archive := tar.NewWriter(encrypted)
	must(t, archive.AddFS(os.DirFS(p.keyset)))
	must(t, archive.Close())
	must(t, encrypted.Close())
	must(t, os.WriteFile(filepath.Join(directory, "backup.age"), file.Bytes(), 0o600))
	must(t, os.WriteFile(filepath.Join(directory, "identity"), []byte(identity.String()+"\n"), 0o600))
	restored := filepath.Join(directory, "restored")
	command := pluginCommand(t, "keys", "import", filepath.Join(directory, "backup.age"), "--uri", "file:"+restored,
		"--identity", filepath.Join(directory, "identity"))
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s: %s", err, output)
	}
	want, err := os.ReadFile(filepath.Join(p.keyset, "keyset.yaml"))
	must(t, err)
	got, err := os.ReadFile(filepath.Join(restored, "keyset.yaml"))
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("the manifest differs: %s", got)
	}
}
