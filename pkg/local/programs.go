package local

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/types"
)

// ProgramStats is what is known about one program.
type ProgramStats struct {
	// Namespace and Name are those of the resource.
	Namespace, Name string
	// Function: it is a Knative Service, which runs only when it is needed.
	Function bool
	// PID of the process, 0 if none runs. Of several it is the first one's.
	PID int
	// PIDs of all its processes: at most one, unless Options.Pods says otherwise.
	PIDs []int
	// Starts of a process since the program is part of the System.
	Starts int
	// Requests that came for it since it is part of the System.
	Requests int
}

// Running reports whether a process runs.
func (p ProgramStats) Running() bool { return p.PID != 0 }

// Programs returns the stats of all programs, sorted by namespace and name.
func (s *System) Programs() []ProgramStats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var all []ProgramStats
	for _, f := range s.functions {
		all = append(all, f.stats())
	}
	for _, d := range s.daemons {
		all = append(all, d.stats())
	}
	slices.SortFunc(all, func(a, b ProgramStats) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// Program returns the stats of one program. If there is no such program, all numbers are zero.
func (s *System) Program(namespace, name string) ProgramStats {
	for _, p := range s.Programs() {
		if p.Namespace == namespace && p.Name == name {
			return p
		}
	}
	return ProgramStats{Namespace: namespace, Name: name}
}

// Kill ends all processes of a program with SIGKILL, as a crash does, and reports whether there was one to kill. What always runs is
// started again by itself, a function by its next request.
func (s *System) Kill(namespace, name string) bool {
	key := types.NamespacedName{Namespace: namespace, Name: name}
	s.mu.RLock()
	f, d := s.functions[key], s.daemons[key]
	s.mu.RUnlock()
	switch {
	case f != nil:
		return f.kill()
	case d != nil:
		return d.kill()
	default:
		return false
	}
}
