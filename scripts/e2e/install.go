package main

import (
	"context"
	"encoding/json"
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

// empty checks that there is a cluster with Knative, and room for us.
func (s *suite) empty(ctx context.Context) error {
	for _, crd := range []string{"services.serving.knative.dev", "triggers.eventing.knative.dev"} {
		if _, err := kubectl(ctx, "get", "crd", crd, "-o", "name"); err != nil {
			return fmt.Errorf("the cluster lacks Knative Serving or Eventing: %w", err)
		}
	}
	found, err := kubectl(ctx, "get", "namespace", namespace, second, "--ignore-not-found", "-o", "name")
	if err != nil {
		return err
	}
	if found == "" {
		return provideVolume(ctx, namespace)
	}
	if !s.force {
		return fmt.Errorf("there is already %s: remove it as the README says, or run with ARGS=-force, which deletes it and all models in it", strings.ReplaceAll(found, "\n", " and "))
	}
	// What a check has left that failed may not be able to clean up behind its models.
	for _, folder := range []string{"config", "eventing"} {
		if _, err := s.koApply(ctx, folder); err != nil {
			return err
		}
	}
	if err := removeElsewhere(ctx); err != nil {
		return err
	}
	if err := s.uninstall(ctx); err != nil {
		return err
	}
	return provideVolume(ctx, namespace)
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
	{"crd", "Established"},
	{"deployment", "Available"},
	{"ksvc", "Ready"},
	{"brokers.eventing.knative.dev", "Ready"},
	{"triggers.eventing.knative.dev", "Ready"},
	{"sources", "Ready"},
}

// install installs as the README says.
func (s *suite) install(ctx context.Context) error {
	for _, folder := range []string{"config", "eventing"} {
		if _, err := s.koApply(ctx, folder); err != nil {
			return err
		}
	}
	start := time.Now()
	if err := waitInstalled(ctx, namespace); err != nil {
		return err
	}
	s.measured("install", "from the end of ko apply until everything is Ready", time.Since(start))
	return nil
}

// waitInstalled waits until everything of a namespace is as it should be.
func waitInstalled(ctx context.Context, ns string) error {
	for _, i := range installables {
		args := []string{"wait", "-n", ns, "--for=condition=" + i.condition, i.resources, "--all", timeout}
		if i.resources == "crd" {
			args = []string{"wait", "--for=condition=" + i.condition, "crd", "-l", model.LabelModel + "=true", timeout}
		}
		if _, err := kubectl(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// koApply builds, pushes and applies, and returns what kubectl did.
func (s *suite) koApply(ctx context.Context, folder string) ([]string, error) {
	show("ko", "apply", "-R", "-f", folder)
	out, err := output(ctx, "", "ko", "apply", "-R", "-f", folder)
	lines := strings.Split(out, "\n")
	fmt.Printf("    %d resources\n", len(lines))
	return lines, err
}

// installAgain applies everything once more: neither a resource nor a pod changes.
func (s *suite) installAgain(ctx context.Context) error {
	before, err := fingerprint(ctx)
	if err != nil {
		return err
	}
	for _, folder := range []string{"config", "eventing"} {
		lines, err := s.koApply(ctx, folder)
		if err != nil {
			return err
		}
		for _, line := range lines {
			// "configured" may stand there for a Knative Service that does not
			// change: kubectl cannot merge the fields that Knative fills in.
			if strings.HasSuffix(line, " created") {
				return fmt.Errorf("ko apply -R -f %s: expected nothing to change, got %q", folder, line)
			}
		}
	}
	after, err := fingerprint(ctx)
	if err != nil {
		return err
	}
	diff := cmp.Diff(before, after)
	return expect(diff == "", "kind, name, uid and generation, -before +after:\n%s", diff)
}

// fingerprint lists what can be changed by applying, and what the controllers
// make of it, with generations. The autoscaler changes Deployments of
// revisions, so those are left out.
func fingerprint(ctx context.Context) ([]string, error) {
	var all []string
	for _, args := range [][]string{
		{"ksvc,revisions,services,roles,rolebindings,persistentvolumeclaims,brokers,triggers,sources"},
		{"deployments", "-l", "!serving.knative.dev/revision"},
	} {
		out, err := output(ctx, "", "kubectl", append([]string{"get", "-n", namespace,
			"-o", `jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.uid} {.metadata.generation}{"\n"}{end}`}, args...)...)
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

// uninstall removes everything in the order of the README.
func (s *suite) uninstall(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	definitions, err := output(ctx, "", "kubectl", "get", "crd", "-l", model.LabelModel+"=true", "-o", "name")
	if err != nil {
		return err
	}
	// What makes models goes first: a model of later would lose its functions
	// before it was cleaned up, and hold back its definition for ever.
	if _, err := kubectl(ctx, "delete", "pingsource/pull", "trigger/event", "--ignore-not-found"); err != nil {
		return err
	}
	if definitions != "" { // Else there are no models, and no such category.
		// A tick that is under way may make one more.
		if err := until(ctx, "no model is left", func() error {
			if _, err := kubectl(ctx, "delete", "models", "--all", timeout); err != nil {
				return err
			}
			left, err := output(ctx, "", "kubectl", "get", "models", "-n", namespace, "-o", "name")
			if err != nil {
				return err
			}
			return expect(left == "", "%s", left)
		}); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"delete", "-k", "eventing", "--ignore-not-found"},
		// A namespace with pods in it takes minutes to go: first the pods.
		{"delete", "-k", "config/functions", "--ignore-not-found"},
		{"wait", "--for=delete", "pods", "-l", "serving.knative.dev/service", timeout},
		{"delete", "-k", "config", "--ignore-not-found"},
	} {
		show("kubectl", append([]string{"-n", namespace}, args...)...)
		if _, err := output(ctx, "", "kubectl", append([]string{"-n", namespace}, args...)...); err != nil {
			return err
		}
	}
	if err := removeVolumes(ctx); err != nil {
		return err
	}
	return until(ctx, "nothing is left", func() error { return leftovers(ctx) })
}

// leftovers looks for anything of ours.
func leftovers(ctx context.Context) error {
	out, err := output(ctx, "", "kubectl", "get", "namespaces,crd,clusterroles,clusterrolebindings,persistentvolumes,storageclasses", "-o", "json")
	if err != nil {
		return err
	}
	var list struct {
		Items []struct {
			Kind     string
			Metadata struct{ Name string }
			Spec     struct{ ClaimRef corev1.ObjectReference }
		}
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return err
	}
	var left []string
	for _, o := range list.Items {
		name := o.Metadata.Name
		if name == namespace || name == second || strings.HasPrefix(name, storageClass) || strings.Contains(name, "xos-knative.dev") || strings.HasPrefix(name, "synchronizer-") || o.Spec.ClaimRef.Namespace == namespace {
			left = append(left, o.Kind+" "+name)
		}
	}
	return expect(len(left) == 0, "left: %s", strings.Join(left, ", "))
}
