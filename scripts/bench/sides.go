package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/xos-knative/synchronizer/pkg/local"
	"github.com/xos-knative/synchronizer/scripts/bench/drive"
	"github.com/xos-knative/synchronizer/scripts/bench/report"
)

// side is one way to do the job.
type side struct {
	name string
	// start brings up what does the work, beside the API and the greeter. Nil: the driver does it all.
	start func(ctx context.Context, s *session, args ...string) error
	// args are given to start.
	args []string
	// functions: the work is done by functions, which can be at zero.
	functions bool
}

const (
	// oursInTwo has sync and policy in a function each.
	oursInTwo = "ours"
	// oursInOne has sync and policy in one function.
	oursInOne = "ours in one"
)

// sides are all of them, in the order of the tables. Another configuration of ours is one more line: its arguments are
// flags of the child "runner".
var sides = []side{
	{name: report.Floor},
	{name: report.Peer, start: startPeer},
	{name: report.Peer32, start: startPeer, args: []string{"-concurrent", strconv.Itoa(drive.Clients)}},
	{name: oursInTwo, start: startRunner, functions: true, args: []string{"-only", "helloworld", "-without", alone}},
	{name: oursInOne, start: startOneFunction, functions: true, args: []string{"-only", "core", "-without", alone}},
}

// alone leaves out of the project what the driver starts itself, and what would run in between.
const alone = "deployment/greeter,service/greeter,sinkbinding/greeter,pingsource/pull"

func sideNames() (names []string) {
	for _, s := range sides {
		names = append(names, s.name)
	}
	return names
}

func chosenSides(names string) (chosen []side, err error) {
	for _, name := range strings.Split(names, ",") {
		n := slices.IndexFunc(sides, func(s side) bool { return s.name == strings.TrimSpace(name) })
		if n < 0 {
			return nil, fmt.Errorf("-sides: expected some of %s, got %q", strings.Join(sideNames(), ","), name)
		}
		chosen = append(chosen, sides[n])
	}
	return chosen, nil
}

// idle is the side with functions that end soon.
func (s side) idle() side {
	s.args = append(slices.Clone(s.args), "-idle", "1s")
	return s
}

func startPeer(ctx context.Context, s *session, args ...string) error {
	_, err := s.start(ctx, "peer", s.bench.peerProgram(), args, "GREETER_URL="+s.greeterURL)
	return err
}

func startRunner(ctx context.Context, s *session, args ...string) (err error) {
	s.runner, err = s.start(ctx, "runner", s.bench.self, append([]string{"runner", "-root", s.bench.root, "-dir", filepath.Join(s.dir, "runner"), "-bin", s.bench.bin}, args...),
		"GREETER_URL="+s.greeterURL)
	return err
}

func startOneFunction(ctx context.Context, s *session, args ...string) error {
	folder := filepath.Join(s.dir, "helloworld")
	if err := local.RenderOverlay(filepath.Join(s.bench.root, "config/overlays/one-function"), folder); err != nil {
		return err
	}
	return startRunner(ctx, s, append(args, "-add", folder)...)
}

func (b *bench) peerProgram() string { return filepath.Join(b.bin, "peer") }

func needsPeer(chosen []side) bool {
	return slices.ContainsFunc(chosen, func(s side) bool { return s.name == report.Peer || s.name == report.Peer32 })
}

// build compiles the programs of the sides once.
func (b *bench) build(ctx context.Context, chosen []side) error {
	fmt.Println("bench: building")
	b.bin = filepath.Join(b.dir, "bin")
	// Stripped, as in the images.
	stripped := "-ldflags=-s -w"
	if err := local.Build(ctx, b.root, b.bin, []string{stripped}, "./functions/...", "./scripts/bench/tiny"); err != nil {
		return err
	}
	if !needsPeer(chosen) {
		return nil
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-mod=mod", stripped, "-o", b.peerProgram(), ".")
	cmd.Dir, cmd.Stdout, cmd.Stderr = filepath.Join(b.root, "scripts/bench/peer"), os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("cannot build the peer: %w", err)
	}
	return nil
}
