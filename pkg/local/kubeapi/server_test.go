package kubeapi_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/xos-knative/synchronizer/pkg/local/kubeapi"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
)

const (
	crdFile = "testdata/boxes.yaml"
	// childDir in the environment makes the test binary a process that serves an API over that directory until killed.
	childDir = "KUBEAPI_TEST_CHILD_DIR"
)

var boxes = schema.GroupVersionResource{Group: "test.xos-knative.dev", Version: "v1", Resource: "boxes"}

func TestMain(m *testing.M) {
	dir := os.Getenv(childDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	s, err := kubeapi.Start(context.Background(), kubeapi.Options{Dir: dir, CRDs: []string{crdFile}})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	<-s.Done()
}

func box(name string, spec map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "test.xos-knative.dev/v1",
		"kind":       "Box",
		"metadata":   map[string]any{"name": name},
		"spec":       spec,
	}}
}

func client(t *testing.T, c *rest.Config) dynamic.ResourceInterface {
	t.Helper()
	d, err := dynamic.NewForConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	return d.Resource(boxes).Namespace("any")
}

func TestAPI(t *testing.T) {
	config := kubeapitest.Start(t, crdFile)
	api := client(t, config)
	ctx := t.Context()

	cases := map[string]struct {
		reason  string
		name    string
		spec    map[string]any
		strict  bool
		want    map[string]any
		wantErr string
	}{
		"Defaulted": {
			reason: "Defaults of the schema are filled in.",
			name:   "a", spec: map[string]any{"size": int64(3)},
			want: map[string]any{"size": int64(3), "color": "red"},
		},
		"OpenAPI": {
			reason: "What the schema forbids is refused, with the field.",
			name:   "b", spec: map[string]any{"size": int64(0)},
			wantErr: "spec.size",
		},
		"CEL": {
			reason: "Rules are run.",
			name:   "c", spec: map[string]any{"color": "mauve"},
			wantErr: "nobody wants mauve",
		},
		"UnknownField": {
			reason: "Strict clients learn of fields that do not exist.",
			name:   "d", spec: map[string]any{"colour": "red"}, strict: true,
			wantErr: `unknown field "spec.colour"`,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			opts := metav1.CreateOptions{}
			if tc.strict {
				opts.FieldValidation = metav1.FieldValidationStrict
			}
			got, err := api.Create(ctx, box(tc.name, tc.spec), opts)
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Fatalf("\n%s\nwant an error with %q, got %v", tc.reason, tc.wantErr, err)
				}
				return
			}
			if err != nil {
				t.Fatalf("\n%s\n%v", tc.reason, err)
			}
			if diff := cmp.Diff(tc.want, got.Object["spec"]); diff != "" {
				t.Errorf("\n%s\n-want, +got:\n%s", tc.reason, diff)
			}
		})
	}

	t.Run("StatusAndGeneration", func(t *testing.T) {
		obj, err := api.Create(ctx, box("st", map[string]any{}), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		obj.Object["status"] = map[string]any{"state": "OK"}
		if obj, err = api.UpdateStatus(ctx, obj, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if got := obj.GetGeneration(); got != 1 {
			t.Errorf("a status write must not change the generation, got %d", got)
		}
		obj.Object["spec"] = map[string]any{"color": "blue"}
		if obj, err = api.Update(ctx, obj, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if got := obj.GetGeneration(); got != 2 {
			t.Errorf("a changed spec must change the generation, got %d", got)
		}
		list, err := api.List(ctx, metav1.ListOptions{FieldSelector: "spec.color=blue"})
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Items) != 1 || list.Items[0].GetName() != "st" {
			t.Errorf("want exactly st by its color, got %v", list.Items)
		}
	})

	t.Run("ServerSideApply", func(t *testing.T) {
		got, err := api.Apply(ctx, "applied", box("applied", map[string]any{"size": int64(1)}), metav1.ApplyOptions{FieldManager: "test"})
		if err != nil {
			t.Fatal(err)
		}
		if len(got.GetManagedFields()) == 0 {
			t.Error("server-side apply must record who owns the fields")
		}
	})

	t.Run("Discovery", func(t *testing.T) {
		d, err := discovery.NewDiscoveryClientForConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		_, lists, err := d.ServerGroupsAndResources()
		if err != nil {
			t.Fatal(err)
		}
		found := slices.ContainsFunc(lists, func(l *metav1.APIResourceList) bool {
			return l.GroupVersion == "test.xos-knative.dev/v1" && slices.ContainsFunc(l.APIResources, func(r metav1.APIResource) bool {
				return r.Name == "boxes" && slices.Contains(r.Categories, "models") && slices.Contains(r.ShortNames, "bx")
			})
		})
		if !found {
			t.Errorf("boxes are missing in discovery: %v", lists)
		}
		v, err := d.ServerVersion()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(v.GitVersion, "v1.") {
			t.Errorf("want a version that clients can parse, got %q", v.GitVersion)
		}
	})
}

func TestAuthentication(t *testing.T) {
	s := kubeapitest.StartServer(t, kubeapi.Options{
		CRDs:   []string{crdFile},
		Tokens: map[string]string{"guest-token": "guest"},
		Authorizer: authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
			if a.GetUser().GetName() == "guest" && a.IsReadOnly() {
				return authorizer.DecisionAllow, "", nil
			}
			return authorizer.DecisionNoOpinion, "guests only look", nil
		}),
	})

	cases := map[string]struct {
		reason string
		token  string
		list   func(error) bool
		create func(error) bool
	}{
		"None":          {reason: "Nobody is let in without a token.", token: "", list: apierrors.IsUnauthorized, create: apierrors.IsUnauthorized},
		"Wrong":         {reason: "A token must be a known one.", token: "x", list: apierrors.IsUnauthorized, create: apierrors.IsUnauthorized},
		"Guest":         {reason: "Other tokens may do what the authorizer says.", token: "guest-token", list: isNil, create: apierrors.IsForbidden},
		"Administrator": {reason: "The administrator may do everything.", token: s.Config().BearerToken, list: isNil, create: isNil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			config := s.Config()
			config.BearerToken = tc.token
			api := client(t, config)
			if _, err := api.List(t.Context(), metav1.ListOptions{}); !tc.list(err) {
				t.Errorf("\n%s\nlist: %v", tc.reason, err)
			}
			if _, err := api.Create(t.Context(), box("x", map[string]any{}), metav1.CreateOptions{}); !tc.create(err) {
				t.Errorf("\n%s\ncreate: %v", tc.reason, err)
			}
		})
	}
}

func isNil(err error) bool { return err == nil }

// TestKill kills an API in the middle of its life: the next one over the same directory has its objects and accepts
// the old kubeconfig.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill() }()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		log, _ := os.ReadFile(filepath.Join(dir, "kubeapi.log"))
		t.Fatalf("the child says %q, %v; its log:\n%s", line, err, log[max(0, len(log)-20_000):])
	}

	config := savedConfig(t, dir)
	if _, err := client(t, config).Create(t.Context(), box("kept", map[string]any{}), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()

	kubeapitest.StartServer(t, kubeapi.Options{Dir: dir})
	if _, err := client(t, config).Get(t.Context(), "kept", metav1.GetOptions{}); err != nil {
		t.Errorf("an object that was accepted must survive a SIGKILL, and so must the kubeconfig: %v", err)
	}
}

// savedConfig is a client made from nothing but the files that an API keeps.
func savedConfig(t *testing.T, dir string) *rest.Config {
	t.Helper()
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	return &rest.Config{
		Host:            "https://127.0.0.1:" + read("port"),
		BearerToken:     read("token"),
		TLSClientConfig: rest.TLSClientConfig{CAData: []byte(read("apiserver.crt"))},
	}
}

func TestKubeconfig(t *testing.T) {
	s := kubeapitest.StartServer(t, kubeapi.Options{CRDs: []string{crdFile}, Namespace: "ours"})
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := s.WriteKubeconfig(path); err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client(t, config).List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("the kubeconfig must work: %v", err)
	}
	loaded, err := clientcmd.LoadFromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := loaded.Contexts[loaded.CurrentContext].Namespace; got != "ours" {
		t.Errorf("commands that name no namespace must go to the one asked for, got %q", got)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("a file with the administrator's token must be for its owner only, got %v", got)
	}

	kubectl, err := exec.LookPath("kubectl")
	if err != nil {
		t.Skip("no kubectl here to try it with")
	}
	if _, err := client(t, config).Create(t.Context(), box("one", map[string]any{}), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ args, want string }{
		{"get models -A", "one"},
		{"explain bx.spec", "What it should be."},
		{"get bx one -n any -o name", "box.test.xos-knative.dev/one"},
		{"version", "Server Version: v1."},
		{"delete bx one -n any", "deleted"},
	} {
		cmd := exec.CommandContext(t.Context(), kubectl, strings.Fields(tc.args)...)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+path, "HOME="+t.TempDir())
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), tc.want) {
			t.Errorf("kubectl %s: want %q, got %v:\n%s", tc.args, tc.want, err, out)
		}
	}
}

func TestStartErrors(t *testing.T) {
	taken := kubeapitest.StartServer(t, kubeapi.Options{})
	var port int
	if _, err := fmt.Sscanf(taken.URL(), "https://127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: x.y}\nspec: {group: y}\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	cases := map[string]struct {
		reason string
		o      kubeapi.Options
		want   string
	}{
		"PortTaken":  {reason: "A taken port is named.", o: kubeapi.Options{Port: port}, want: fmt.Sprintf("on port %d", port)},
		"NoSuchFile": {reason: "A missing file is named.", o: kubeapi.Options{CRDs: []string{"testdata/nope.yaml"}}, want: "testdata/nope.yaml"},
		"RefusedCRD": {reason: "A CRD that is refused is named.", o: kubeapi.Options{CRDs: []string{bad}}, want: "CRD x.y"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s, err := kubeapi.Start(t.Context(), tc.o)
			if err == nil {
				_ = s.Stop()
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("\n%s\nwant an error with %q, got %v", tc.reason, tc.want, err)
			}
		})
	}
}

// TestDeleteCRDs deletes a definition with its objects: one that has a finalizer keeps it.
func TestDeleteCRDs(t *testing.T) {
	s := kubeapitest.StartServer(t, kubeapi.Options{CRDs: []string{crdFile}})
	api := client(t, s.Config())
	held := box("held", map[string]any{})
	held.SetFinalizers([]string{"example.com/held"})
	for _, b := range []*unstructured.Unstructured{held, box("free", map[string]any{})} {
		if _, err := api.Create(t.Context(), b, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	const name = "boxes.test.xos-knative.dev"
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := s.DeleteCRDs(ctx, name); err == nil || !strings.Contains(err.Error(), name) {
		t.Fatalf("want an error about %s, which has an object with a finalizer, got %v", name, err)
	}
	if _, err := api.Patch(t.Context(), "held", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteCRDs(t.Context(), name, "never.test.xos-knative.dev"); err != nil {
		t.Fatal(err)
	}
	if _, err := api.List(t.Context(), metav1.ListOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("want the resource to be gone, got %v", err)
	}
	if err := s.ApplyCRDs(t.Context(), crdFile); err != nil {
		t.Fatal(err)
	}
	if list, err := api.List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) != 0 {
		t.Errorf("a new definition begins without objects, got %v %v", list, err)
	}
}

// TestStartOverTerminatingCRD starts an API over a definition whose deletion waits for an object: the object can be cleaned
// up, and then the kind is there again.
func TestStartOverTerminatingCRD(t *testing.T) {
	dir := t.TempDir()
	first, err := kubeapi.Start(t.Context(), kubeapi.Options{Dir: dir, CRDs: []string{crdFile}})
	if err != nil {
		t.Fatal(err)
	}
	held := box("held", map[string]any{})
	held.SetFinalizers([]string{"example.com/held"})
	_, err = client(t, first.Config()).Create(t.Context(), held, metav1.CreateOptions{})
	if err == nil {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if first.DeleteCRDs(ctx, "boxes.test.xos-knative.dev") == nil {
			t.Fatal("the definition must wait for its object")
		}
	}
	if err := errors.Join(err, first.Stop()); err != nil {
		t.Fatal(err)
	}

	s := kubeapitest.StartServer(t, kubeapi.Options{Dir: dir, CRDs: []string{crdFile}})
	api := client(t, s.Config())
	if _, err := api.Patch(t.Context(), "held", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	err = wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
		_, lastErr := api.Create(ctx, box("new", map[string]any{}), metav1.CreateOptions{})
		return lastErr == nil, nil
	})
	if err != nil {
		t.Errorf("the kind must come back: %v", err)
	}
	if list, err := api.List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) != 1 {
		t.Errorf("what was deleted must stay so, got %v %v", list, err)
	}
}
