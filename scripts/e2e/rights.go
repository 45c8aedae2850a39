package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

const (
	// readDefinitions is what all functions and the model source may do with the
	// definitions of the models.
	readDefinitions = "get list watch"
	// writeStatus is how engines acknowledge.
	writeStatus = "patch"
	// writeEvents is how they record Kubernetes Events.
	writeEvents = "create patch"
)

// allowed is all that each account may do in the namespace of hello-world, beyond what
// every account of the cluster may: resource to verbs. Everything else must be refused.
var allowed = map[named]map[string]string{
	{system, "modelsource"}: {
		"customresourcedefinitions.apiextensions.k8s.io":        readDefinitions,
		"helloworldservices.helloworld.xos-knative.dev":         "get list watch",
		"helloworldserviceinstances.helloworld.xos-knative.dev": "get list watch",
		"servicegraphconstraints.core.xos-knative.dev":          "get list watch",
		"deadletters.core.xos-knative.dev":                      "get list watch",
	},
	{system, "deadletter"}: {
		"customresourcedefinitions.apiextensions.k8s.io": readDefinitions,
		"deadletters.core.xos-knative.dev":               "create delete get list patch",
		"deadletters.core.xos-knative.dev/status":        writeStatus,
		"events.events.k8s.io":                           writeEvents,
	},
	{system, "tosca"}:      {},
	{namespace, "greeter"}: {},
	{namespace, "sync"}: {
		"customresourcedefinitions.apiextensions.k8s.io":               readDefinitions,
		"helloworldservices.helloworld.xos-knative.dev":                "get list patch",
		"helloworldserviceinstances.helloworld.xos-knative.dev":        "delete get list patch",
		"helloworldservices.helloworld.xos-knative.dev/status":         writeStatus,
		"helloworldserviceinstances.helloworld.xos-knative.dev/status": writeStatus,
		"events.events.k8s.io":                                         writeEvents,
	},
	{namespace, "policy"}: {
		"customresourcedefinitions.apiextensions.k8s.io":               readDefinitions,
		"helloworldservices.helloworld.xos-knative.dev":                "get list",
		"helloworldserviceinstances.helloworld.xos-knative.dev":        "delete get patch",
		"helloworldserviceinstances.helloworld.xos-knative.dev/status": writeStatus,
		"events.events.k8s.io":                                         writeEvents,
	},
	{namespace, "pull"}: {
		"customresourcedefinitions.apiextensions.k8s.io":        readDefinitions,
		"helloworldservices.helloworld.xos-knative.dev":         "get",
		"helloworldserviceinstances.helloworld.xos-knative.dev": "create get list patch",
		"events.events.k8s.io":                                  writeEvents,
	},
	{namespace, "event"}: {
		"customresourcedefinitions.apiextensions.k8s.io":               readDefinitions,
		"helloworldserviceinstances.helloworld.xos-knative.dev":        "create get list patch",
		"helloworldserviceinstances.helloworld.xos-knative.dev/status": writeStatus,
	},
}

// forbidden are well-known ways to more rights, each refused to every account.
var forbidden = [][]string{
	{"get", "secrets"},
	{"create", "pods"},
	{"create", "serviceaccounts/token"},
	{"impersonate", "users"},
	{"patch", "triggers.eventing.knative.dev"},
}

// allowedIn is what an account may do in a namespace: outside of that of hello-world only
// what holds for the whole cluster.
func allowedIn(ns string, account named) map[string]string {
	if ns == namespace || account.name == "modelsource" {
		return allowed[account]
	}
	everywhere := maps.Clone(allowed[account])
	maps.DeleteFunc(everywhere, func(resource, _ string) bool {
		return resource != "customresourcedefinitions.apiextensions.k8s.io"
	})
	return everywhere
}

// rights compares what each account may do with what it needs.
func (s *suite) rights(ctx context.Context) error {
	accounts, err := functions()
	if err != nil {
		return err
	}
	accounts = append(accounts, named{namespace, "greeter"}, named{system, "modelsource"})
	for _, a := range accounts {
		if _, ok := allowed[a]; !ok {
			return fmt.Errorf("account %v: e2e does not know what it may do, add it to the table in rights.go", a)
		}
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "    ACCOUNT\tRESOURCE\tMAY, IN "+namespace)
	var wrong []string
	for _, ns := range []string{namespace, system, "default"} {
		// An account that nobody binds shows what all accounts may do.
		everybody, err := may(ctx, ns, named{namespace, "nobody"})
		if err != nil {
			return err
		}
		for _, account := range accounts {
			have, err := may(ctx, ns, account)
			if err != nil {
				return err
			}
			maps.DeleteFunc(have, func(resource, verbs string) bool { return everybody[resource] == verbs })
			if want := allowedIn(ns, account); !maps.Equal(have, want) {
				wrong = append(wrong, fmt.Sprintf("%v in namespace %s: expected %v, got %v", account, ns, want, have))
			}
			if ns == namespace {
				printRights(w, account, have)
			}
		}
	}
	w.Flush()
	wrong = append(wrong, escapes(ctx, accounts)...)
	return expect(len(wrong) == 0, "%s", strings.Join(wrong, "\n"))
}

func printRights(w io.Writer, account named, have map[string]string) {
	if len(have) == 0 {
		fmt.Fprintf(w, "    %s/%s\t-\t-\n", account.ns, account.name)
	}
	for _, resource := range slices.Sorted(maps.Keys(have)) {
		fmt.Fprintf(w, "    %s/%s\t%s\t%s\n", account.ns, account.name, resource, have[resource])
	}
}

// escapes lists what is allowed to accounts although it is forbidden to all.
func escapes(ctx context.Context, accounts []named) (wrong []string) {
	for _, account := range accounts {
		for _, ns := range []string{namespace, system} {
			for _, question := range forbidden {
				if answer, _ := canI(ctx, ns, account, question...); answer != "no" {
					wrong = append(wrong, fmt.Sprintf("%v in namespace %s: expected no for %v, got %q", account, ns, question, answer))
				}
			}
		}
	}
	return wrong
}

func canI(ctx context.Context, ns string, account named, question ...string) (string, error) {
	args := append([]string{"auth", "can-i", "-n", ns, "--as=system:serviceaccount:" + account.ns + ":" + account.name}, question...)
	return output(ctx, "", "kubectl", args...)
}

// may lists what an account may do in a namespace: resource to sorted verbs.
func may(ctx context.Context, ns string, account named) (map[string]string, error) {
	out, err := canI(ctx, ns, account, "--list", "--no-headers")
	if err != nil {
		return nil, err
	}
	verbs := map[string][]string{}
	for line := range strings.Lines(out) {
		// Resource, non-resource URLs, resource names, verbs; the last three in brackets.
		resource, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		open, end := strings.LastIndex(rest, "["), strings.LastIndex(rest, "]")
		if resource == "" || open < 0 || end < open || strings.HasPrefix(resource, "[") {
			continue // A URL, such as /healthz.
		}
		if named := strings.Count(rest, "[]"); named < 2 {
			resource += " (only " + strings.Join(strings.Fields(rest[:open]), " ") + ")"
		}
		verbs[resource] = append(verbs[resource], strings.Fields(rest[open+1:end])...)
	}
	all := map[string]string{}
	for resource, list := range verbs {
		slices.Sort(list)
		all[resource] = strings.Join(slices.Compact(list), " ")
	}
	return all, nil
}
