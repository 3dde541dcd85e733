package conformance

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/klog/v2"
)

// The client code logs each refused connection; here those are made on purpose.
func TestMain(m *testing.M) {
	quiet := flag.NewFlagSet("klog", flag.PanicOnError)
	klog.InitFlags(quiet)
	_ = quiet.Parse([]string{"-logtostderr=false", "-stderrthreshold=FATAL", "-legacy_stderr_threshold_behavior=false"})
	klog.SetOutput(clientLog())
	encryptionconfig.EnvelopeKMSv2ServiceFactory = countedService
	code := m.Run()
	klog.Flush()
	os.Exit(code)
}

func clientLog() io.Writer {
	directory := os.Getenv("TEAPOT_TEST_LOG_DIR")
	if directory == "" {
		return io.Discard
	}
	if err := os.MkdirAll(directory, 0o755); err != nil {
		panic(err)
	}
	file, err := os.Create(filepath.Join(directory, "conformance-client.log"))
	if err != nil {
		panic(err)
	}
	return file
}
