package kubeapi

import (
	"flag"
	"io"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"
)

// sink is where klog and etcd write to. klog has one output per process, so several Servers have to share one.
var sink = &switchWriter{w: io.Discard}

// klogOnce guards klog's settings, which are plain global variables.
var klogOnce sync.Once

// switchWriter passes writes on to a writer that can be replaced, one write at a time.
type switchWriter struct {
	mu sync.Mutex // protects w, and w from concurrent writes
	w  io.Writer
}

// Write never fails: a full disk must not end the API because of a log line.
func (s *switchWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = s.w.Write(p)
	return len(p), nil
}

// redirectLogs sends what etcd and all users of klog write to w instead of to the console.
func redirectLogs(w io.Writer) {
	sink.mu.Lock()
	sink.w = w
	sink.mu.Unlock()
	klogOnce.Do(func() {
		fs := flag.NewFlagSet("klog", flag.ContinueOnError)
		klog.InitFlags(fs)
		_ = fs.Set("logtostderr", "false")
		// Otherwise errors are written to stderr as well, and the API server reports errors that are none here.
		_ = fs.Set("stderrthreshold", "FATAL")
		klog.SetOutput(sink)
	})
}

// releaseLogs forgets w if it is still the one in use, before it is closed.
func releaseLogs(w io.Writer) {
	sink.mu.Lock()
	defer sink.mu.Unlock()
	if sink.w == w {
		sink.w = io.Discard
	}
}

// newZapLogger is etcd's logger. Its lines about raft are of no use with one local member.
func newZapLogger() *zap.Logger {
	encoder := zapcore.NewConsoleEncoder(zap.NewProductionEncoderConfig())
	return zap.New(zapcore.NewCore(encoder, zapcore.AddSync(sink), zapcore.WarnLevel))
}
