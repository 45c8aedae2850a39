package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/xos-knative/synchronizer/pkg/local"
)

// tick is the unit of CPU times in /proc, USER_HZ, which is 100 everywhere.
const tick = 10 * time.Millisecond

// driver is the name of this process.
const driver = "driver"

// usage is what the programs of a session have used so far.
type usage struct {
	at      time.Time
	machine time.Duration // CPU that all have used, also outside of this machine
	names   map[int]string
	cpu     map[int]time.Duration // by process
	peak    map[string]int        // MiB, by program
	events  int                   // that functions have got
}

// usage reads it. Processes that have ended meanwhile are left out.
func (s *session) usage() (u usage, err error) {
	u = usage{at: time.Now(), names: map[int]string{os.Getpid(): driver}, cpu: map[int]time.Duration{}, peak: map[string]int{}}
	for _, p := range s.programs {
		u.names[p.PID()] = p.name
	}
	programs, err := s.functions(context.Background())
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
	for pid, name := range u.names {
		dir := "/proc/" + strconv.Itoa(pid)
		stat, err := os.ReadFile(dir + "/stat")
		if err != nil {
			continue
		}
		status, err := os.ReadFile(dir + "/status")
		if err != nil {
			continue
		}
		if u.cpu[pid], err = processCPU(stat); err != nil {
			return u, err
		}
		u.peak[name] = max(u.peak[name], peakMiB(status))
	}
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return u, fmt.Errorf("the bench needs Linux: %w", err)
	}
	u.machine, err = machineCPU(stat)
	return u, err
}

// functions are the programs that the runner has started.
func (s *session) functions(ctx context.Context) (programs []local.ProgramStats, err error) {
	if s.runner == nil {
		return nil, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.runner.address+"/programs", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return programs, json.NewDecoder(resp.Body).Decode(&programs)
}

// total is the CPU of all programs but the driver.
func (u usage) total() (sum time.Duration) {
	for pid, cpu := range u.cpu {
		if u.names[pid] != driver {
			sum += cpu
		}
	}
	return sum
}

// cpuSince is the CPU time for each of n models, in ms, by program.
func (u usage) cpuSince(before usage, n int) map[string]float64 {
	all := map[string]float64{}
	for pid, cpu := range u.cpu {
		all[u.names[pid]] += float64((cpu - before.cpu[pid]).Milliseconds()) / float64(n)
	}
	return all
}

// othersSince is how many cores the rest of the machine has used.
func (u usage) othersSince(before usage) float64 {
	others := u.machine - before.machine
	for pid, cpu := range u.cpu {
		others -= cpu - before.cpu[pid]
	}
	return max(0, others.Seconds()/u.at.Sub(before.at).Seconds())
}

// processCPU reads /proc/PID/stat: user and system time are fields 14 and 15. The name of the program, field 2, can have
// spaces in it.
func processCPU(stat []byte) (time.Duration, error) {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/PID/stat: expected at least 15 fields, got %q", stat)
	}
	return ticks(fields[11:13]...)
}

// machineCPU reads the first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal.
// What other machines have stolen is not there for the bench, either.
func machineCPU(stat []byte) (time.Duration, error) {
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	fields := bytes.Fields(line)
	if len(fields) < 9 || string(fields[0]) != "cpu" {
		return 0, fmt.Errorf(`/proc/stat: expected "cpu" and 8 numbers first, got %q`, line)
	}
	return ticks(fields[1], fields[2], fields[3], fields[6], fields[7], fields[8])
}

func ticks(fields ...[]byte) (sum time.Duration, err error) {
	for _, f := range fields {
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}

// peakMiB reads the most memory that a process ever had from /proc/PID/status, 0 if it is not there.
func peakMiB(status []byte) int {
	_, rest, _ := bytes.Cut(status, []byte("VmHWM:"))
	var kib int
	_, _ = fmt.Sscanf(string(rest[:min(len(rest), 40)]), "%d kB", &kib)
	return kib >> 10
}
