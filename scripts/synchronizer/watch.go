package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/xos-knative/synchronizer/pkg/local"
	"github.com/xos-knative/synchronizer/scripts/synchronizer/generate"
)

// quiet is how long nothing may change before what was saved is built: editors write several files at once.
const quiet = 300 * time.Millisecond

// watchAll reloads each project when one of its files is saved, until the context ends. The function that it returns waits
// for the end of that.
func (r *running) watchAll(ctx context.Context, s *local.System) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	var ended []chan struct{}
	stop = func() {
		cancel()
		for _, c := range ended {
			<-c
		}
	}
	for dir, p := range r.projects {
		name := p.Name
		if !slices.Contains(s.Synchronizers(), name) {
			continue
		}
		w, err := fsnotify.NewWatcher()
		for _, tree := range []string{dir, p.Config, p.Eventing} {
			if err == nil {
				err = watchTree(w, tree)
			}
		}
		if err != nil {
			stop()
			return nil, fmt.Errorf("watching the files of %s (run with --watch=false to do without): %w", name, err)
		}
		done := make(chan struct{})
		ended = append(ended, done)
		go func() {
			defer close(done)
			defer func() { _ = w.Close() }()
			r.watchProject(ctx, w, s, name, dir)
		}()
	}
	return stop, nil
}

func (r *running) watchProject(ctx context.Context, w *fsnotify.Watcher, s *local.System, name, dir string) {
	settled := time.NewTimer(time.Hour)
	settled.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case err := <-w.Errors:
			r.problem(name, err)
		case e := <-w.Events:
			if info, err := os.Stat(e.Name); err == nil && info.IsDir() && e.Has(fsnotify.Create) {
				if err := watchTree(w, e.Name); err != nil {
					r.problem(name, err)
				}
			}
			if matters(e.Name) && !e.Has(fsnotify.Chmod) {
				settled.Reset(quiet)
			}
		case <-settled.C:
			if err := reload(ctx, s, name, dir); err != nil && ctx.Err() == nil {
				r.problem(name, err)
			}
		}
	}
}

// reload makes, builds and applies what was saved.
func reload(ctx context.Context, s *local.System, name, dir string) error {
	if _, err := generate.Run(ctx, dir, false); err != nil {
		return err
	}
	return s.Reload(ctx, name)
}

// matters reports whether a file is one that an author saves. What generate makes is not.
func matters(path string) bool {
	base := filepath.Base(path)
	switch filepath.Ext(base) {
	case ".go":
		return !strings.HasPrefix(base, "zz_generated.") && !strings.HasSuffix(base, "_test.go") && !strings.HasPrefix(base, ".")
	case ".yaml", ".yml":
		made, err := generate.Made(path)
		return err == nil && !made || errors.Is(err, fs.ErrNotExist)
	case ".mod", ".tmpl", ".sql", ".json":
		return true
	}
	return false
}

// watchTree watches a directory and those below it.
func watchTree(w *fsnotify.Watcher, dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // eventing/ comes with the first function.
		}
		if err != nil || !d.IsDir() {
			return err
		}
		if name := d.Name(); path != dir && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "bin") {
			return fs.SkipDir
		}
		return w.Add(path)
	})
}
