package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/prometheus/procfs"

	"github.com/xos-knative/synchronizer/pkg/local"
)

// driver is the name of this process.
const driver = "(driver)"

// usage is what the programs of a session have used so far.
type usage struct {
	at      time.Time
	machine float64 // seconds of CPU that all have used, also outside of this machine
	names   map[int]string
	cpu     map[int]float64    // seconds, by process
	peak    map[string]float64 // MiB, by program
	events  int                // that functions have got
}

// usage reads it. Processes that have ended are left out.
func (s *session) usage(ctx context.Context) (usage, error) {
	u := usage{at: time.Now(), names: map[int]string{os.Getpid(): driver}, cpu: map[int]float64{}, peak: map[string]float64{}}
	for _, p := range s.programs {
		u.names[p.PID()] = p.name
	}
	programs, err := s.functions(ctx)
	if err != nil {
		return u, err
	}
	for _, p := range programs {
		for _, pid := range p.PIDs {
			u.names[pid] = strings.TrimPrefix(p.Name, "model")
		}
		if p.Function {
			u.events += p.Requests
		}
	}
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return u, fmt.Errorf("the bench needs Linux: %w", err)
	}
	machine, err := fs.Stat()
	if err != nil {
		return u, err
	}
	c := machine.CPUTotal
	u.machine = c.User + c.Nice + c.System + c.IRQ + c.SoftIRQ + c.Steal
	for pid, name := range u.names {
		if process, err := fs.Proc(pid); err == nil {
			stat, _ := process.Stat()
			u.cpu[pid] = stat.CPUTime()
			if name != driver { // It has seen other sessions.
				u.peak[name] = max(u.peak[name], peakMiB(process))
			}
		}
	}
	return u, nil
}

// peakMiB is the most memory that a process ever had.
func peakMiB(p procfs.Proc) float64 {
	status, _ := p.NewStatus()
	return mib(float64(status.VmHWM))
}

// functions are the programs that the runner has started.
func (s *session) functions(ctx context.Context) (programs []local.ProgramStats, err error) {
	if s.runner == nil {
		return nil, nil
	}
	resp, err := call(ctx, http.MethodGet, s.runner.address, "/programs", nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return programs, json.NewDecoder(resp.Body).Decode(&programs)
}

// total is the CPU of all programs but the driver.
func (u usage) total() (sum float64) {
	for pid, cpu := range u.cpu {
		if u.names[pid] != driver {
			sum += cpu
		}
	}
	return sum
}

// cpuSince is the CPU time for each of n models, in ms, by program, and of all but the driver.
func (u usage) cpuSince(before usage, n int) map[string]float64 {
	all := map[string]float64{}
	for pid, cpu := range u.cpu {
		ms := (cpu - before.cpu[pid]) * 1000 / float64(n)
		if all[u.names[pid]] += ms; u.names[pid] != driver {
			all["all"] += ms
		}
	}
	return all
}

// othersSince is how many cores the rest of the machine has used.
func (u usage) othersSince(before usage) float64 {
	others := u.machine - before.machine
	for pid, cpu := range u.cpu {
		others -= cpu - before.cpu[pid]
	}
	return max(0, others/u.at.Sub(before.at).Seconds())
}
