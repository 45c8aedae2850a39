package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"os"
	"path/filepath"

	"github.com/prometheus/procfs"

	"github.com/xos-knative/synchronizer/scripts/bench/report"
)

// modelSource is the program that watches all models.
const modelSource = "modelsource"

// startup is how a program begins.
type startup struct {
	Program      string
	Milliseconds []float64 // from exec to the first answer
	MiB          float64   // at most in use until then
	Size, Gzip   float64   // of the stripped program, in MB
}

// processStarts starts what wakes up for models, and what always runs, beside the smallest function there can be.
func (b *bench) processStarts(ctx context.Context, chosen []side) error {
	programs := []string{"scripts/bench/tiny", "functions/helloworld/sync", "functions/helloworld/policy", "functions/" + modelSource}
	if needsPeer(chosen) {
		programs = append(programs, "peer")
	}
	s, err := b.begin(ctx, side{name: report.Floor})
	if err != nil {
		return err
	}
	defer s.stop()
	for _, program := range programs {
		path := filepath.Join(b.bin, program)
		start := startup{Program: filepath.Base(program)}
		if start.Size, start.Gzip, err = sizes(path); err != nil {
			return err
		}
		for range b.starts {
			p, err := s.start(ctx, start.Program, path, nil, "GREETER_URL="+s.greeterURL, "K_SINK="+s.greeterURL)
			if err != nil {
				return err
			}
			start.Milliseconds = append(start.Milliseconds, float64(p.took.Microseconds())/1000)
			if running, err := procfs.NewProc(p.PID()); err == nil {
				start.MiB = max(start.MiB, peakMiB(running))
			}
			p.Stop()
		}
		b.startups = append(b.startups, start)
	}
	return nil
}

// sizes are those of a file and of what gzip -1 makes of it, in MB.
func sizes(path string) (size, zipped float64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	var small bytes.Buffer
	z, _ := gzip.NewWriterLevel(&small, gzip.BestSpeed)
	n, err := io.Copy(z, f)
	if err == nil {
		err = z.Close()
	}
	return float64(n) / 1e6, float64(small.Len()) / 1e6, err
}

func (b *bench) printStartups(w io.Writer) {
	if len(b.startups) == 0 {
		return
	}
	t := report.Table(w, "PROCESS", "EXEC TO ANSWER MS", "MIN..MAX", "PEAK MIB", "MB STRIPPED", "MB GZIP -1")
	for _, s := range b.startups {
		report.Row(t, append(append([]string{s.Program}, report.Spread(s.Milliseconds)...), report.Number(s.MiB, 0), report.Number(s.Size, 1), report.Number(s.Gzip, 1))...)
	}
	_ = t.Flush()
}
