// E2e checks the project on a real cluster with Knative: it installs from nothing, walks
// through the tutorial, breaks what can break, adds and removes a second synchronizer,
// measures, and uninstalls. It works with ko, kubectl and curl as a user would, prints every
// command, and ends with a table of what was checked and how long it took.
//
// It uses whatever cluster KUBECONFIG points to and whatever registry
// KO_DOCKER_REPO names. It restarts and scales Knative's in-memory broker while
// it runs, so use a cluster that nobody else needs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"

	"knative.dev/pkg/signals"
)

// options are the flags.
type options struct {
	force    bool
	keep     bool
	measure  bool
	repeat   int
	overlays bool
	burst    int
	only     *regexp.Regexp
}

func main() {
	var o options
	flag.BoolVar(&o.force, "force", false, "remove an installation that is there already, with all its models")
	flag.BoolVar(&o.keep, "keep", false, "do not uninstall at the end")
	flag.BoolVar(&o.overlays, "overlays", false, "also check a second hello-world in another namespace, and sender identity: turns Knative's feature authentication-oidc on for a while")
	flag.BoolVar(&o.measure, "measure", false, "install, measure hello-world beside an operator that does the same job, as the bench does on one machine, and uninstall")
	flag.IntVar(&o.repeat, "repeat", 3, "how often the sides of -measure take turns")
	flag.IntVar(&o.burst, "burst", 200, "how many changes the restarts have to survive")
	flag.Func("only", "run only the checks whose name `matches` this regular expression, on what is installed already", func(v string) (err error) {
		o.only, err = regexp.Compile(v)
		return err
	})
	flag.Parse()
	if err := run(signals.NewContext(), o); err != nil {
		fmt.Fprintf(os.Stderr, "\ne2e: FAILED: %v\n", err)
		os.Exit(1)
	}
	fmt.Println("\ne2e: everything was as it should be")
}

func run(ctx context.Context, o options) error {
	if o.repeat < 1 {
		return fmt.Errorf("-repeat: expected at least 1, got %d", o.repeat)
	}
	if err := prerequisites(); err != nil {
		return err
	}
	s := &suite{options: o, peak: map[string]usage{}}
	defer s.closeLinks()
	err := s.runAll(ctx, checks(o))
	// In any case, Knative is left as it was found.
	restored := s.restoreAll(context.WithoutCancel(ctx))
	s.printTable()
	if err != nil {
		s.diagnose(context.WithoutCancel(ctx))
		err = fmt.Errorf("%w\n(the installation is left as it is; the next run needs ARGS=-force)", err)
	}
	return errors.Join(err, restored)
}

// prerequisites says what is missing on this side.
func prerequisites() error {
	var errs []error
	for _, tool := range []string{"ko", "kubectl", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			errs = append(errs, err)
		}
	}
	if os.Getenv("KO_DOCKER_REPO") == "" {
		errs = append(errs, errors.New("KO_DOCKER_REPO: expected the registry that ko pushes to and the cluster pulls from"))
	}
	// With a cache ko links only what has changed.
	if os.Getenv("KOCACHE") == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		errs = append(errs, os.Setenv("KOCACHE", filepath.Join(cache, "synchronizer-ko")))
	}
	return errors.Join(errs...)
}
