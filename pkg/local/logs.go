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

	"github.com/xos-knative/synchronizer/pkg/local/console"
)

// logs are the files below Options.Dir that everything is written to as it comes.
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

func newLogs(dir string, c *console.Console) (*logs, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make the directory for logs: %w", err)
	}
	return &logs{dir: dir, console: c, files: map[string]*programLog{}}, nil
}

// open returns the log of a program, the same one each time.
func (l *logs) open(name string) (*programLog, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p, ok := l.files[name]; ok {
		return p, nil
	}
	f, err := l.file(name + ".log")
	if err != nil {
		return nil, err
	}
	p := &programLog{Writer: l.console.Program(name, f), file: f}
	l.files[name] = p
	return p, nil
}

// file opens a log to append to it. One that has become too large is put aside, in place of the one before it.
func (l *logs) file(name string) (*os.File, error) {
	path := filepath.Join(l.dir, name)
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

// knative is the logger of Knative's handlers, for which the console has no room.
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
