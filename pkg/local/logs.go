package local

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/apimachinery/pkg/types"

	"github.com/xos-knative/synchronizer/pkg/local/console"
)

// logs are the files below Options.Dir that everything is written to as it comes: NAMESPACE/NAME.log for a program.
type logs struct {
	dir     string
	console *console.Console

	mu    sync.Mutex // protects files
	files map[string]*programLog
}

// programLog takes the output of one program over all its runs.
type programLog struct {
	io.Writer
	file *os.File
}

func newLogs(dir string, c *console.Console) *logs {
	return &logs{dir: dir, console: c, files: map[string]*programLog{}}
}

// open returns the log of a program, the same one each time. label is what the console calls the program.
func (l *logs) open(program types.NamespacedName, label string) (*programLog, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p, ok := l.files[program.String()]; ok {
		return p, nil
	}
	f, err := l.file(filepath.Join(program.Namespace, program.Name+".log"))
	if err != nil {
		return nil, err
	}
	p := &programLog{Writer: l.console.Program(label, f), file: f}
	l.files[program.String()] = p
	return p, nil
}

// closeProgram closes the log of a program that has ended for good.
func (l *logs) closeProgram(program types.NamespacedName) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, ok := l.files[program.String()]
	if !ok {
		return nil
	}
	delete(l.files, program.String())
	return p.file.Close()
}

// file opens a log to append to it. One that has become too large is put aside, in place of the one before it.
func (l *logs) file(name string) (*os.File, error) {
	path := filepath.Join(l.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("cannot make the directory for logs: %w", err)
	}
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, fmt.Errorf("cannot put a log aside: %w", err)
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot open a log: %w", err)
	}
	return f, nil
}

// knative is the logger of Knative's handlers. Their lines are in a file only.
func (l *logs) knative() (*zap.Logger, error) {
	f, err := l.file("knative.log")
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files["knative.log"] = &programLog{Writer: f, file: f}
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.Lock(f), zapcore.InfoLevel)
	return zap.New(core), nil
}

func (l *logs) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, p := range l.files {
		errs = append(errs, p.file.Close())
	}
	return errors.Join(errs...)
}
