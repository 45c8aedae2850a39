package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/xos-knative/synchronizer/pkg/local/kubeapi"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
	"github.com/xos-knative/synchronizer/pkg/local/manifest"
	"github.com/xos-knative/synchronizer/scripts/synchronizer/check"
)

const project = "../.."

// resources are the files of hello-world and of the core.
var resources = []string{project + "/config/core", project + "/eventing/core", project + "/config/helloworld", project + "/eventing/helloworld"}

// command runs the command, and returns what it prints and its exit code.
func command(t *testing.T, args ...string) (string, int) {
	t.Helper()
	streams, _, out, _ := genericiooptions.NewTestIOStreams()
	c := newCommand(streams, time.Now)
	c.SetArgs(args)
	err := c.ExecuteContext(t.Context())
	if err == nil {
		return out.String(), 0
	}
	return out.String() + "Error: " + err.Error(), exitCode(err)
}

// says runs the command, and checks its exit code and that it prints the parts.
func says(t *testing.T, args string, code int, parts ...string) string {
	t.Helper()
	out, got := command(t, strings.Fields(args)...)
	if got != code {
		t.Errorf("%s: want exit code %d, got %d:\n%s", args, code, got, out)
	}
	for _, part := range parts {
		if !strings.Contains(out, part) {
			t.Errorf("%s: want %q, got:\n%s", args, part, out)
		}
	}
	return out
}

func TestCheckFiles(t *testing.T) {
	says(t, "check "+project, 0, "Nothing is wrong.\n")
	says(t, "check "+project+"/pkg/testdata/library", 1,
		"error: "+project+"/pkg/testdata/library/eventing/trigger-lost.yaml: Trigger library/lost: spec.subscriber: expected a function with event steps, found sync, which has none; send",
		"Error: errors: 1, warnings: 0, unchecked: 0")

	var found []check.Finding
	out := says(t, "check -o json "+project+"/pkg/testdata/device", 0)
	if err := json.Unmarshal([]byte(out), &found); err != nil || len(found) != 1 || found[0].Severity != check.Warning || found[0].Object != "CustomResourceDefinition devices.device.xos-knative.dev" {
		t.Errorf("want a warning as JSON, got %v:\n%s", err, out)
	}
	if out := says(t, "check -o json "+project+"/pkg/testdata/testservice", 0); out != "[]\n" {
		t.Errorf("want an empty list, got %q", out)
	}
}

func TestWhatCannotBeCheckedHasAnExitCodeOfItsOwn(t *testing.T) {
	says(t, "check nowhere", exitUnchecked, "nowhere")
	says(t, "check -o yaml", exitUnchecked, "--output: expected json, got \"yaml\"")
	says(t, "check "+t.TempDir(), exitUnchecked, "cannot find the core: expected", "to be in a Go module that requires github.com/xos-knative/synchronizer")
	lead(t, "http://127.0.0.1:1")
	says(t, "check --cluster", exitUnchecked, "connect")
	refuseAll := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { refuse(w, r.URL.Path) }))
	defer refuseAll.Close()
	lead(t, refuseAll.URL)
	says(t, "check --cluster", exitUnchecked, "nothing can be read: cannot list customresourcedefinitions.apiextensions.k8s.io: the right is missing")
}

// lead makes KUBECONFIG lead to a URL, for namespace helloworld.
func lead(t *testing.T, url string) {
	t.Helper()
	c := clientcmdapi.NewConfig()
	c.Clusters["test"] = &clientcmdapi.Cluster{Server: url}
	c.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", Namespace: "helloworld"}
	c.CurrentContext = "test"
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*c, file); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", file)
}

// refuse answers as an API does to somebody who has no right.
func refuse(w http.ResponseWriter, path string) {
	respond(w, http.StatusForbidden, metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure,
		Reason: metav1.StatusReasonForbidden, Code: http.StatusForbidden, Message: path + " is forbidden"})
}

// respond answers with JSON.
func respond(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // A client that is gone does not read it.
}

// cluster is an API with hello-world and the core on it.
type cluster struct {
	*testing.T
	objects dynamic.Interface
	// builtIn are the objects of kinds that the API does not serve, by the path of their list.
	builtIn map[string][]any
	// refused are the paths that answer 403.
	refused sets.Set[string]
}

// foreign are the kinds that are served as custom resources here. (The API has none of its own.)
var foreign = map[string]struct {
	resource   string
	namespaced bool
}{
	"serving.knative.dev/v1 Service":                  {"services", true},
	"eventing.knative.dev/v1 Broker":                  {"brokers", true},
	"eventing.knative.dev/v1 Trigger":                 {"triggers", true},
	"sources.knative.dev/v1 PingSource":               {"pingsources", true},
	"sources.knative.dev/v1 ContainerSource":          {"containersources", true},
	"sources.knative.dev/v1 SinkBinding":              {"sinkbindings", true},
	"rbac.authorization.k8s.io/v1 Role":               {"roles", true},
	"rbac.authorization.k8s.io/v1 RoleBinding":        {"rolebindings", true},
	"rbac.authorization.k8s.io/v1 ClusterRole":        {"clusterroles", false},
	"rbac.authorization.k8s.io/v1 ClusterRoleBinding": {"clusterrolebindings", false},
}

// definitionOf is a definition of a kind whose objects may have any fields.
func definitionOf(gvk schema.GroupVersionKind, resource string, namespaced bool) string {
	scope := map[bool]string{true: "Namespaced", false: "Cluster"}[namespaced]
	return fmt.Sprintf(`{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
"metadata": {"name": "%[1]s.%[2]s", "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"}},
"spec": {"group": "%[2]s", "scope": "%[5]s", "names": {"plural": "%[1]s", "kind": "%[4]s"}, "versions": [{"name": "%[3]s", "served": true, "storage": true,
"schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}}`, resource, gvk.Group, gvk.Version, gvk.Kind, scope)
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	server := kubeapitest.StartServer(t, kubeapi.Options{CRDs: []string{project + "/config/core/crds", project + "/config/helloworld/crds"}})
	var definitions [][]byte
	for kind, f := range foreign {
		version, name, _ := strings.Cut(kind, " ")
		definitions = append(definitions, []byte(definitionOf(schema.FromAPIVersionAndKind(version, name), f.resource, f.namespaced)))
	}
	if err := server.ApplyCRDDocuments(t.Context(), definitions...); err != nil {
		t.Fatal(err)
	}
	config := server.Config()
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t, objects, map[string][]any{}, sets.New[string]()}
	c.apply()
	c.serve(config)
	return c
}

// apply makes what the files have.
func (c *cluster) apply() {
	c.Helper()
	documents, err := manifest.Read(resources...)
	if err != nil {
		c.Fatal(err)
	}
	for _, d := range documents {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(d.Object)
		if err != nil {
			c.Fatal(err)
		}
		u := &unstructured.Unstructured{Object: content}
		gvk := u.GroupVersionKind()
		if f, ok := foreign[gvk.GroupVersion().String()+" "+gvk.Kind]; ok {
			if _, err := c.objects.Resource(gvk.GroupVersion().WithResource(f.resource)).Namespace(u.GetNamespace()).Create(c.Context(), u, metav1.CreateOptions{}); err != nil {
				c.Fatal(err)
			}
			continue
		}
		base := "/apis/" + gvk.GroupVersion().String()
		if gvk.Group == "" {
			base = "/api/v1"
		}
		if gvk.Kind != "Namespace" {
			base += "/namespaces/" + u.GetNamespace()
		}
		path := base + "/" + strings.ToLower(gvk.Kind) + "s"
		c.builtIn[path] = append(c.builtIn[path], u)
	}
}

// serve makes KUBECONFIG lead to the API, through a proxy that refuses what somebody may not do.
func (c *cluster) serve(config *rest.Config) {
	c.Helper()
	transport, err := rest.TransportFor(config)
	if err != nil {
		c.Fatal(err)
	}
	to, err := url.Parse(config.Host)
	if err != nil {
		c.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; {
		case c.refused.Has(path):
			refuse(w, path)
		case strings.HasPrefix(path, "/api/v1/") || strings.HasPrefix(path, "/apis/apps/"):
			respond(w, http.StatusOK, map[string]any{"apiVersion": "v1", "kind": "List", "metadata": map[string]any{}, "items": c.items(path)})
		default:
			proxy.ServeHTTP(w, r)
		}
	}))
	c.Cleanup(front.Close)
	lead(c.T, front.URL)
}

// items are those of a list of built-in kinds, in one namespace or in all.
func (c *cluster) items(path string) []any {
	found := []any{}
	for key, items := range c.builtIn {
		base, rest, _ := strings.Cut(key, "/namespaces/")
		_, resource, _ := strings.Cut(rest, "/")
		if key == path || base+"/"+resource == path {
			found = append(found, items...)
		}
	}
	return found
}

// set changes a field of an object.
func (c *cluster) set(resource schema.GroupVersionResource, namespace, name string, value any, path ...string) {
	c.Helper()
	u, err := c.objects.Resource(resource).Namespace(namespace).Get(c.Context(), name, metav1.GetOptions{})
	if err == nil {
		err = unstructured.SetNestedField(u.Object, value, path...)
	}
	if err == nil {
		_, err = c.objects.Resource(resource).Namespace(namespace).Update(c.Context(), u, metav1.UpdateOptions{})
	}
	if err != nil {
		c.Fatal(err)
	}
}

func TestCheckCluster(t *testing.T) {
	c := newCluster(t)
	says(t, "check --cluster "+strings.Join(resources[2:], " "), 0, "Nothing is wrong.\n")
	out := says(t, "check --cluster", 0, "unchecked: Service helloworld/event: spec.template.spec.containers[0].image: which steps the program of ko://")
	if n := strings.Count(out, "\n"); n != 4 {
		t.Errorf("want one line of each function, got:\n%s", out)
	}
	if all := says(t, "check --cluster --all-namespaces", 0); all != out {
		t.Errorf("want the same of all synchronizers, got:\n%s", all)
	}
	triggers := schema.GroupVersionResource{Group: "eventing.knative.dev", Version: "v1", Resource: "triggers"}
	services := schema.GroupVersionResource{Group: "serving.knative.dev", Version: "v1", Resource: "services"}
	broken := []string{
		"error: Trigger synchronizer-system/helloworld-policy: spec.delivery.timeout: expected more than 25s, a step's deadline, found PT5S",
		"error: Service helloworld/pull: spec.template.spec.timeoutSeconds: expected more than 35",
	}
	c.set(triggers, check.System, "helloworld-policy", "PT5S", "spec", "delivery", "timeout")
	c.set(services, "helloworld", "pull", int64(20), "spec", "template", "spec", "timeoutSeconds")
	says(t, "check --cluster", exitFound, broken...)

	// Somebody who may not read the core's namespace still learns what is wrong in theirs, and nothing wrong of the rest.
	c.refused.Insert("/apis/eventing.knative.dev/v1/namespaces/synchronizer-system/triggers", "/apis/rbac.authorization.k8s.io/v1/clusterroles",
		"/api/v1/namespaces", "/apis/apps/v1/namespaces/helloworld/deployments")
	out = says(t, "check --cluster", exitFound, broken[1],
		"unchecked: cannot list triggers.eventing.knative.dev in namespace synchronizer-system: the right is missing\n",
		"unchecked: cannot list clusterroles.rbac.authorization.k8s.io: the right is missing\n",
		"unchecked: cannot list namespaces: the right is missing\n",
		"unchecked: cannot list deployments.apps in namespace helloworld: the right is missing\n")
	if n := strings.Count(out, "error: "); n != 1 {
		t.Errorf("want one error, got:\n%s", out)
	}
	c.refused.Insert("/apis/eventing.knative.dev/v1/triggers")
	says(t, "check --cluster -A", exitFound, "unchecked: cannot list triggers.eventing.knative.dev in all namespaces: the right is missing\n")
}
