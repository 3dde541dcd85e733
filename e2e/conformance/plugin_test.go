package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2"
	kmsservice "k8s.io/kms/pkg/service"
)

// plugin is one plugin with a keyset of its own, in a directory of its own. It may be stopped and started again.
type plugin struct {
	directory, keyset, socket, config, log string

	process *process
}

// process is one run of the plugin.
type process struct {
	command *exec.Cmd
	ended   chan struct{}
	// err is how it ended; to be read after ended is closed.
	err error
}

// startPlugin makes a keyset with one key and starts the plugin on it. settings are further lines of the instance.
func startPlugin(t *testing.T, settings ...string) *plugin {
	t.Helper()
	p := newPlugin(t, settings...)
	p.start(t)
	return p
}

func newPlugin(t *testing.T, settings ...string) *plugin {
	t.Helper()
	// Not t.TempDir, whose long name would not leave a socket path its 107 bytes.
	directory, err := os.MkdirTemp("", "teapot-")
	must(t, err)
	p := &plugin{
		directory: directory,
		keyset:    filepath.Join(directory, "keyset"),
		socket:    filepath.Join(directory, "run", "kms.sock"),
		config:    filepath.Join(directory, "config.yaml"),
		log:       filepath.Join(directory, "plugin.log"),
	}
	t.Cleanup(func() { p.cleanUp(t) })
	lines := []string{
		"version: 1",
		"http: false",
		fmt.Sprintf("stateDirectory: %q", filepath.Join(directory, "state")),
		"instances:",
		"  - name: main",
		"    socket: " + p.socket,
		fmt.Sprintf("    keys: { uri: %q }", "file:"+p.keyset),
	}
	for _, setting := range settings {
		lines = append(lines, "    "+setting)
	}
	must(t, os.WriteFile(p.config, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	p.generateKey(t)
	return p
}

func pluginCommand(t *testing.T, arguments ...string) *exec.Cmd {
	t.Helper()
	root, err := filepath.Abs("../..")
	must(t, err)
	command := exec.Command(filepath.Join(root, ".cache/bundle/bin/teapot-kms"), arguments...)
	command.Env = append(os.Environ(), "TEAPOT_KMS_NODE="+filepath.Join(root, "node_modules/node/bin/node"))
	return command
}

// start returns once the plugin answers a Status.
func (p *plugin) start(t *testing.T, arguments ...string) {
	t.Helper()
	p.launch(t, arguments...)
	p.waitForStatus(t)
}

// launch does not wait for anything.
func (p *plugin) launch(t *testing.T, arguments ...string) {
	t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(t, err)
	defer log.Close()
	run := &process{
		command: pluginCommand(t, append([]string{"serve", "--config", p.config}, arguments...)...),
		ended:   make(chan struct{}),
	}
	run.command.Stdout, run.command.Stderr = log, log
	must(t, run.command.Start())
	go func() {
		run.err = run.command.Wait()
		close(run.ended)
	}()
	p.process = run
	t.Cleanup(func() {
		_ = run.command.Process.Kill()
		<-run.ended
	})
}

// waitForStatus uses a connection per try, because grpc-go's back-off would make it wait longer than the start takes.
func (p *plugin) waitForStatus(t *testing.T) *kmsservice.StatusResponse {
	t.Helper()
	var status *kmsservice.StatusResponse
	waitFor(t, 15*time.Second, "the plugin's first Status", func() error {
		select {
		case <-p.process.ended:
			return fmt.Errorf("the plugin ended: %v", p.process.err)
		default:
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		service, err := kmsv2.NewGRPCService(ctx, p.endpoint(), "start", 300*time.Millisecond)
		must(t, err)
		status, err = service.Status(ctx)
		return err
	})
	return status
}

func (p *plugin) endpoint() string { return "unix://" + p.socket }

// stop asks the plugin to end, as systemd and kubelet do, and demands that it does so cleanly.
func (p *plugin) stop(t *testing.T) { t.Helper(); p.process.stop(t) }

func (r *process) stop(t *testing.T) {
	t.Helper()
	must(t, r.command.Process.Signal(syscall.SIGTERM))
	select {
	case <-r.ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the plugin is still there 10 s after SIGTERM")
	}
	if r.err != nil {
		t.Fatalf("after SIGTERM the plugin ended with %v, not 0", r.err)
	}
}

// kill gives the plugin no chance to do anything.
func (p *plugin) kill(t *testing.T) {
	t.Helper()
	must(t, p.process.command.Process.Kill())
	<-p.process.ended
}

func (p *plugin) generateKey(t *testing.T) string {
	t.Helper()
	var made struct{ Generated string }
	must(t, json.Unmarshal(p.keys(t, "generate", "--output", "json"), &made))
	return made.Generated
}

func (p *plugin) promoteKey(t *testing.T, id string) { t.Helper(); p.keys(t, "promote", id, "--unverified") }

func (p *plugin) retireKey(t *testing.T, id string) { t.Helper(); p.keys(t, "retire", id, "--unverified") }

// switchKey makes a new key the primary and waits until the running plugin says so.
func (p *plugin) switchKey(t *testing.T) string {
	t.Helper()
	id := p.generateKey(t)
	p.promoteKey(t, id)
	waitFor(t, 5*time.Second, "the new key in Status", func() error {
		if got := p.waitForStatus(t).KeyID; got != id {
			return fmt.Errorf("Status says %s, not %s", got, id)
		}
		return nil
	})
	return id
}

func (p *plugin) keys(t *testing.T, verb string, arguments ...string) []byte {
	t.Helper()
	command := pluginCommand(t, append([]string{"keys", verb, "--uri", "file:" + p.keyset}, arguments...)...)
	output, err := command.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			output = append(output, exit.Stderr...)
		}
		t.Fatalf("keys %s: %v: %s", verb, err, bytes.TrimSpace(output))
	}
	return output
}

// cleanUp runs after the processes' own clean-up, which was registered later.
func (p *plugin) cleanUp(t *testing.T) {
	log, _ := os.ReadFile(p.log)
	if directory := os.Getenv("TEAPOT_TEST_LOG_DIR"); directory != "" {
		name := "conformance-" + strings.ReplaceAll(t.Name(), "/", "_") + "-" + filepath.Base(p.directory) + ".log"
		if err := os.WriteFile(filepath.Join(directory, name), log, 0o644); err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		t.Logf("the end of the plugin's log:\n%s", lastLines(log, 30))
	}
	_ = os.RemoveAll(p.directory)
}

func lastLines(text []byte, count int) []byte {
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-count):], []byte("\n"))
}

func waitFor(t *testing.T, atMost time.Duration, what string, try func() error) {
	t.Helper()
	deadline := time.Now().Add(atMost)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s: %v", atMost, what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
