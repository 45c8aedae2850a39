package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

// allowed says all that each account may do, beyond what every account of the
// cluster may: resource to verbs. What is not here must be refused.
var allowed = map[string]map[string]string{
	"greeter": {},
	"modelsource": {
		"customresourcedefinitions.apiextensions.k8s.io":        "get list watch",
		"helloworldservices.helloworld.xos-knative.dev":         "get list watch",
		"helloworldserviceinstances.helloworld.xos-knative.dev": "get list watch",
		"servicegraphconstraints.core.xos-knative.dev":          "get list watch",
		"deadletters.core.xos-knative.dev":                      "get list watch",
	},
	"sync": {
		"customresourcedefinitions.apiextensions.k8s.io":               "get list watch",
		"helloworldservices.helloworld.xos-knative.dev":                "get list patch",
		"helloworldserviceinstances.helloworld.xos-knative.dev":        "get list patch",
		"helloworldservices.helloworld.xos-knative.dev/status":         "update",
		"helloworldserviceinstances.helloworld.xos-knative.dev/status": "update",
	},
	"policy": {
		"customresourcedefinitions.apiextensions.k8s.io":               "get list watch",
		"helloworldservices.helloworld.xos-knative.dev":                "get list",
		"helloworldserviceinstances.helloworld.xos-knative.dev":        "delete get list patch",
		"helloworldserviceinstances.helloworld.xos-knative.dev/status": "update",
	},
	"pull": {
		"customresourcedefinitions.apiextensions.k8s.io":        "get list watch",
		"helloworldservices.helloworld.xos-knative.dev":         "get list",
		"helloworldserviceinstances.helloworld.xos-knative.dev": "create get list patch",
	},
	"event": {
		"customresourcedefinitions.apiextensions.k8s.io":        "get list watch",
		"helloworldserviceinstances.helloworld.xos-knative.dev": "create get list patch",
	},
	"deadletter": {
		"customresourcedefinitions.apiextensions.k8s.io": "get list watch",
		"deadletters.core.xos-knative.dev":               "create delete get list patch",
		"deadletters.core.xos-knative.dev/status":        "update",
		"events": "create",
	},
	"tosca": {},
}

// forbidden are the classic ways to more rights, each refused to every account.
var forbidden = [][]string{
	{"get", "secrets"},
	{"create", "pods"},
	{"create", "serviceaccounts/token"},
	{"impersonate", "users"},
	{"list", "helloworldservices.helloworld.xos-knative.dev", "--namespace=default"},
}

// rights compares what each account may do with what it needs.
func (s *suite) rights(ctx context.Context) error {
	names, err := functions()
	if err != nil {
		return err
	}
	accounts := append(names, "greeter", "modelsource")
	for _, name := range accounts {
		if _, ok := allowed[name]; !ok {
			return fmt.Errorf("account %s: e2e does not know what it may do, add it to the table in rights.go", name)
		}
	}
	// An account that nobody binds shows what all accounts may do.
	everybody, err := may(ctx, "nobody")
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "    ACCOUNT\tRESOURCE\tMAY")
	var wrong []string
	for _, account := range slices.Sorted(slices.Values(accounts)) {
		have, err := may(ctx, account)
		if err != nil {
			return err
		}
		maps.DeleteFunc(have, func(resource, verbs string) bool { return everybody[resource] == verbs })
		if !maps.Equal(have, allowed[account]) {
			wrong = append(wrong, fmt.Sprintf("%s: expected %v, got %v", account, allowed[account], have))
		}
		if len(have) == 0 {
			fmt.Fprintf(w, "    %s\t-\t-\n", account)
		}
		for _, resource := range slices.Sorted(maps.Keys(have)) {
			fmt.Fprintf(w, "    %s\t%s\t%s\n", account, resource, have[resource])
		}
	}
	w.Flush()
	for _, account := range accounts {
		for _, question := range forbidden {
			if answer, _ := canI(ctx, account, question...); answer != "no" {
				wrong = append(wrong, fmt.Sprintf("%s: expected no for %v, got %q", account, question, answer))
			}
		}
	}
	return expect(len(wrong) == 0, "%s", strings.Join(wrong, "\n"))
}

func canI(ctx context.Context, account string, question ...string) (string, error) {
	args := append([]string{"auth", "can-i", "-n", namespace, "--as=system:serviceaccount:" + namespace + ":" + account}, question...)
	return output(ctx, "", "kubectl", args...)
}

// may lists what an account may do in the namespace: resource to sorted verbs.
func may(ctx context.Context, account string) (map[string]string, error) {
	out, err := canI(ctx, account, "--list", "--no-headers")
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
