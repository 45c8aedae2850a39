package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/scripts/synchronizer/check"
)

const (
	// exitFound is the exit code if something is wrong, and exitUnchecked if that could not be found out.
	exitFound, exitUnchecked = 1, 2
)

func checkCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	var format string
	var cluster, everywhere bool
	c := &cobra.Command{
		Use:   "check [DIR...]",
		Short: "Find what makes a synchronizer silently not work, before it runs",
		Long: `Checks whether the definitions of the models, the functions, their Triggers and PingSources, the delivery of events, the
rights and the time limits of a synchronizer fit together. Each finding says where it is, what was expected, what was
found, and how to fix it.

It reads the YAML files of a directory that has config/ and eventing/ in it (the current one, if none is named), or of the
directories themselves, as "ko apply -R" does. It builds the programs behind ko:// images and asks them which steps they
have. It takes the core from the Go module that the directory's module requires, and needs no cluster.

With --cluster it reads what is on the cluster, with your rights: what you may not read is said, and the rest is checked.
Which steps a function has cannot be read there; it is known of the functions in the directories that are named, too.

Exit code: 0 if there is no error, 1 if there is one, 2 if it could not check.`,
		Example: `  # This repository
  synchronizer check
  # What is on the cluster, with the programs of this repository
  synchronizer check --cluster -n helloworld config/helloworld eventing/helloworld`,
		RunE: func(cmd *cobra.Command, dirs []string) error {
			if format != "" && format != "json" {
				return exit{exitUnchecked, fmt.Errorf("--output: expected json, got %q", format)}
			}
			var in check.Input
			var err error
			if cluster {
				in, err = onCluster(cmd.Context(), flags, everywhere, dirs)
			} else {
				in, err = inFiles(cmd.Context(), dirs)
			}
			if err != nil {
				return exit{exitUnchecked, err}
			}
			return printFindings(streams.Out, format, check.Check(in))
		},
	}
	c.Flags().BoolVar(&cluster, "cluster", false, "check what is on the cluster, in the namespace of the kubeconfig or of -n")
	c.Flags().BoolVarP(&everywhere, "all-namespaces", "A", false, "with --cluster: all synchronizers")
	c.Flags().StringVarP(&format, "output", "o", "", "json, for programs")
	return c
}

// inFiles is what directories have.
func inFiles(ctx context.Context, dirs []string) (check.Input, error) {
	if len(dirs) == 0 {
		dirs = []string{"."}
	}
	layout, err := check.Find(ctx, dirs...)
	if err != nil {
		return check.Input{}, err
	}
	in, err := check.Files(layout)
	if err != nil {
		return in, err
	}
	return in, in.Describe(ctx, layout.Module)
}

// onCluster is what a cluster has. Of functions that are in the directories, too, it is known which steps they have.
func onCluster(ctx context.Context, flags *genericclioptions.ConfigFlags, everywhere bool, dirs []string) (check.Input, error) {
	var in check.Input
	config, err := flags.ToRESTConfig()
	if err != nil {
		return in, err
	}
	config.QPS, config.Burst = 50, 300 // As kubectl does.
	namespace, _, err := flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return in, err
	}
	if everywhere {
		namespace = ""
	}
	if in, err = check.Cluster(ctx, config, namespace); err != nil || len(dirs) == 0 {
		return in, err
	}
	files, err := inFiles(ctx, dirs)
	if err != nil {
		return in, err
	}
	described := map[types.NamespacedName]*step.Description{}
	for _, r := range files.Resources {
		if s, ok := r.Object.(*servingv1.Service); ok {
			described[types.NamespacedName{Namespace: s.Namespace, Name: s.Name}] = files.Functions[check.ImageOf(s)]
		}
	}
	in.Functions = map[string]*step.Description{}
	for _, r := range in.Resources {
		if s, ok := r.Object.(*servingv1.Service); ok {
			in.Functions[check.ImageOf(s)] = described[types.NamespacedName{Namespace: s.Namespace, Name: s.Name}]
		}
	}
	return in, nil
}

// printFindings prints findings. It returns an error if one of them is an error.
func printFindings(w io.Writer, format string, findings []check.Finding) error {
	counts := map[check.Severity]int{}
	for _, f := range findings {
		counts[f.Severity]++
	}
	var err error
	if format == "json" {
		if findings == nil {
			findings = []check.Finding{} // As JSON it is a list, also without any.
		}
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(findings)
	} else {
		for _, f := range findings {
			fmt.Fprintln(w, f)
		}
		if len(findings) == 0 {
			fmt.Fprintln(w, "Nothing is wrong.")
		}
	}
	if n := counts[check.Error]; n > 0 {
		return exit{exitFound, fmt.Errorf("errors: %d, warnings: %d, unchecked: %d", n, counts[check.Warning], counts[check.Unchecked])}
	}
	return err
}
