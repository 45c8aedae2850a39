package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// storageClass is what a cluster gets that has no default: its volumes are
// folders of this machine.
const storageClass = "greeter-e2e"

// synchronizer is one that e2e installs: its namespace, and the argument with which
// scripts/remove.sh removes it.
type synchronizer struct{ ns, remove string }

// synchronizers are all of them, the core last.
var synchronizers = []synchronizer{
	{workflow, workflowDir},
	{library, libraryDir},
	{second, "config/overlays/namespace"},
	{namespace, "helloworld"},
	{system, "core"},
}

// empty checks that there is a cluster with Knative, and room for us.
func (s *suite) empty(ctx context.Context) error {
	for _, crd := range []string{"services.serving.knative.dev", "triggers.eventing.knative.dev"} {
		if _, err := kubectl(ctx, "get", "crd", crd, "-o", "name"); err != nil {
			return fmt.Errorf("the cluster lacks Knative Serving or Eventing: %w", err)
		}
	}
	var there []synchronizer
	for _, c := range synchronizers {
		found, err := kubectl(ctx, "get", "namespace", c.ns, "--ignore-not-found", "-o", "name")
		if err != nil {
			return err
		}
		if found != "" {
			there = append(there, c)
		}
	}
	if len(there) > 0 {
		if !s.force {
			return fmt.Errorf("there are already namespaces of ours: %v; remove them as the README says, or run with ARGS=-force, which deletes them and all models in them", there)
		}
		if err := s.clear(ctx, there); err != nil {
			return err
		}
	}
	return provideVolume(ctx, namespace)
}

// clear removes what a check has left that failed. Its functions may be broken, so
// they are installed again first: the models need them to be cleaned up.
func (s *suite) clear(ctx context.Context, there []synchronizer) error {
	if err := s.addEverything(ctx); err != nil {
		return err
	}
	for _, c := range there {
		var err error
		switch c.ns {
		case workflow:
			err = s.koApply(ctx, workflowDir+"/config", workflowDir+"/eventing")
		case library:
			// Without the definitions: the API refuses those of one version when objects have been stored in another.
			err = s.koApply(ctx, libraryDir+"/config/rights.yaml", libraryDir+"/config/policy.yaml", libraryDir+"/config/sync.yaml", libraryDir+"/eventing")
		case second:
			err = applyOverlay(ctx, c.remove)
		}
		if err != nil {
			return err
		}
	}
	for _, c := range synchronizers {
		if !slices.Contains(there, c) && c.ns != namespace && c.ns != system {
			continue
		}
		if err := remove(ctx, c.remove); err != nil {
			return err
		}
	}
	return removeVolumes(ctx)
}

// provideVolume makes a volume for the greeter of a namespace if the cluster
// has no default StorageClass of its own: a folder on the node.
func provideVolume(ctx context.Context, ns string) error {
	classes, err := get[storagev1.StorageClassList](ctx, "storageclasses")
	if err != nil {
		return err
	}
	if slices.ContainsFunc(classes.Items, func(c storagev1.StorageClass) bool {
		return c.Annotations["storageclass.kubernetes.io/is-default-class"] == "true" && c.Name != storageClass
	}) {
		return nil
	}
	fmt.Println("  The cluster has no default StorageClass: the greeter gets a folder of this machine, which has to be the node.")
	dir, err := os.MkdirTemp("", storageClass+"-")
	if err != nil {
		return err
	}
	// The greeter's user is not ours, and Kubernetes changes no owners on a hostPath.
	if err := os.Chmod(dir, 0o777); err != nil {
		return err
	}
	// The class binds when the pod is scheduled: a claim that is bound while the
	// scheduler looks at the pod can leave the pod unscheduled for minutes.
	_, err = kubectlStdin(ctx, fmt.Sprintf(storage, storageClass, ns, dir), "apply", "-f", "-")
	return err
}

// storage is a class and a volume of it: of a name, a namespace and a folder.
const storage = `apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: %[1]s, annotations: {storageclass.kubernetes.io/is-default-class: "true"}}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: %[1]s-%[2]s}
spec:
  accessModes: [ReadWriteOnce]
  capacity: {storage: 1Gi}
  persistentVolumeReclaimPolicy: Retain
  storageClassName: %[1]s
  hostPath: {path: %[3]s, type: Directory}
`

// removeVolumes removes what provideVolume made, in this run or an earlier one.
func removeVolumes(ctx context.Context) error {
	volumes, err := get[corev1.PersistentVolumeList](ctx, "persistentvolumes")
	if err != nil {
		return err
	}
	args := []string{"delete", "--ignore-not-found", "storageclass/" + storageClass}
	var dirs []string
	for _, v := range volumes.Items {
		if v.Spec.StorageClassName != storageClass || v.Spec.HostPath == nil {
			continue
		}
		args = append(args, "persistentvolume/"+v.Name)
		// Only ever a folder that was made for this purpose.
		if dir := v.Spec.HostPath.Path; strings.HasPrefix(filepath.Base(dir), storageClass+"-") {
			dirs = append(dirs, dir)
		}
	}
	_, err = kubectl(ctx, args...)
	errs := []error{err}
	for _, dir := range dirs {
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

// installables wait for their condition after an install.
var installables = []struct{ resources, condition string }{
	{"deployment", "Available"},
	{"ksvc", "Ready"},
	{"brokers.eventing.knative.dev", "Ready"},
	{"triggers.eventing.knative.dev", "Ready"},
	{"sources", "Ready"},
}

// install installs the core, and then adds hello-world with one command.
func (s *suite) install(ctx context.Context) error {
	if err := s.koApply(ctx, "config/core", "eventing/core"); err != nil {
		return err
	}
	if err := waitInstalled(ctx, system); err != nil {
		return err
	}
	if err := s.koApply(ctx, "config/helloworld", "eventing/helloworld"); err != nil {
		return err
	}
	start := time.Now()
	if err := waitInstalled(ctx, namespace, system); err != nil {
		return err
	}
	s.measured("hello-world", "from the end of ko apply until everything is Ready", time.Since(start))
	return nil
}

// addEverything applies everything there is, in the one order that fits a cluster with
// nothing of ours.
func (s *suite) addEverything(ctx context.Context) error {
	if err := s.koApply(ctx, "config"); err != nil {
		return err
	}
	return s.koApply(ctx, "eventing")
}

// waitInstalled waits until everything of some namespaces is as it should be.
func waitInstalled(ctx context.Context, namespaces ...string) error {
	if _, err := kubectl(ctx, "wait", "--for=condition=Established", "crd", "-l", model.LabelModel+"=true", timeout); err != nil {
		return err
	}
	for _, ns := range namespaces {
		for _, i := range installables {
			found, err := output(ctx, "", "kubectl", "get", i.resources, "-n", ns, "-o", "name")
			if err != nil {
				return err
			}
			if found == "" {
				continue // kubectl waits for nothing with an error.
			}
			if _, err := kubectl(ctx, "wait", "-n", ns, "--for=condition="+i.condition, i.resources, "--all", timeout); err != nil {
				return err
			}
		}
	}
	return nil
}

// koApply builds, pushes and applies folders with one command.
func (s *suite) koApply(ctx context.Context, folders ...string) error {
	args := []string{"apply", "-R"}
	for _, f := range folders {
		args = append(args, "-f", f)
	}
	show("ko", args...)
	out, err := output(ctx, "", "ko", args...)
	fmt.Printf("    %d resources\n", len(strings.Split(out, "\n")))
	return err
}

// installAgain applies everything once more: neither a resource nor a pod changes.
func (s *suite) installAgain(ctx context.Context) error {
	before, err := fingerprint(ctx)
	if err != nil {
		return err
	}
	if err := s.addEverything(ctx); err != nil {
		return err
	}
	after, err := fingerprint(ctx)
	if err != nil {
		return err
	}
	diff := cmp.Diff(before, after)
	return expect(diff == "", "kind, name, uid and generation, -before +after:\n%s", diff)
}

// fingerprint lists what an installation makes, and what the controllers make of it,
// with generations. The autoscaler changes Deployments of revisions, so those are left
// out.
func fingerprint(ctx context.Context) ([]string, error) {
	var all []string
	for _, args := range [][]string{
		{"crd", "-l", model.LabelModel},
		{"ksvc,revisions,services,serviceaccounts,roles,rolebindings,persistentvolumeclaims,brokers,triggers,sources,eventtypes", "-n", namespace},
		{"ksvc,revisions,services,serviceaccounts,roles,rolebindings,brokers,triggers,sources,eventtypes", "-n", system},
		{"deployments", "-l", "!serving.knative.dev/revision", "-n", namespace},
		{"deployments", "-l", "!serving.knative.dev/revision", "-n", system},
	} {
		out, err := output(ctx, "", "kubectl", append([]string{"get",
			"-o", `jsonpath={range .items[*]}{.kind} {.metadata.namespace} {.metadata.name} {.metadata.uid} {.metadata.generation}{"\n"}{end}`}, args...)...)
		if err != nil {
			return nil, err
		}
		all = append(all, strings.Split(out, "\n")...)
	}
	return all, nil
}

// uninstallBusy uninstalls while the greeter has a greeting that function pull
// would adopt again and again.
func (s *suite) uninstallBusy(ctx context.Context) error {
	greeter, err := s.greeter()
	if err != nil {
		return err
	}
	a, err := greeter.shown(ctx, "/greetings/left", jsonBody("PUT", `{"name": "Left", "hello_to": "Rickon Stark"}`)...)
	if err := want(http.StatusCreated, a, err); err != nil {
		return err
	}
	if err := reschedule(ctx, "*/5 * * * * *"); err != nil {
		return err
	}
	if err := until(ctx, "pull has adopted it", func() error { _, err := instanceFor(ctx, "Rickon Stark"); return err }); err != nil {
		return err
	}
	return s.uninstall(ctx)
}

// remove removes a synchronizer, or the core, with one command.
func remove(ctx context.Context, what string) error {
	show("scripts/remove.sh", what)
	out, err := output(ctx, "", "scripts/remove.sh", what)
	if err != nil {
		return err
	}
	fmt.Println("    " + out[strings.LastIndex(out, "\n")+1:])
	return nil
}

// uninstall removes hello-world, and then the core, which does not go before.
func (s *suite) uninstall(ctx context.Context) error {
	if err := remove(ctx, "core"); err == nil || !strings.Contains(err.Error(), "still needs the core") {
		return fmt.Errorf("removing the core before hello-world: expected a refusal, got %v", err)
	}
	fmt.Println("    refused, as it has to be: hello-world needs it")
	start := time.Now()
	if err := remove(ctx, "helloworld"); err != nil {
		return err
	}
	s.measured("hello-world", "scripts/remove.sh", time.Since(start))
	if err := until(ctx, "nothing of hello-world is left", func() error { return leftovers(ctx, namespace) }); err != nil {
		return err
	}
	if err := remove(ctx, "core"); err != nil {
		return err
	}
	if err := removeVolumes(ctx); err != nil {
		return err
	}
	return until(ctx, "nothing is left", func() error {
		return leftovers(ctx, namespace, system, second, library, workflow, "xos-knative.dev", "synchronizer-")
	})
}

// leftovers looks for anything of the whole cluster, or in the namespace of the core,
// whose name contains one of the words.
func leftovers(ctx context.Context, words ...string) error {
	var left []string
	for _, args := range [][]string{
		{"namespaces,crd,clusterroles,clusterrolebindings"},
		{"triggers,ksvc,roles,rolebindings,serviceaccounts", "-n", system},
	} {
		out, err := output(ctx, "", "kubectl", append([]string{"get", "--ignore-not-found", "-o", "name"}, args...)...)
		if err != nil {
			return err
		}
		for line := range strings.Lines(out) {
			_, name, _ := strings.Cut(strings.TrimSpace(line), "/")
			if slices.ContainsFunc(words, func(w string) bool { return strings.Contains(name, w) }) {
				left = append(left, strings.TrimSpace(line))
			}
		}
	}
	return expect(len(left) == 0, "left: %s", strings.Join(left, ", "))
}
