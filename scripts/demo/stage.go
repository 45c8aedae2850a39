package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/client"
	"github.com/xos-knative/synchronizer/pkg/local"
	"github.com/xos-knative/synchronizer/pkg/local/console"
)

const (
	// namespace of the example, and of the core.
	namespace = "helloworld"
	core      = "synchronizer-system"
	// patience is how long the demo waits for anything.
	patience = 3 * time.Minute
)

// stage is the running system with what the acts need: what a user does with
// kubectl, it does with client-go, and prints the command.
type stage struct {
	root    string
	system  *local.System
	models  dynamic.Interface
	greeter *client.Client
}

func newStage(system *local.System, root string) (*stage, error) {
	models, err := dynamic.NewForConfig(system.Config())
	if err != nil {
		return nil, err
	}
	greeter, err := client.New("http://greeter.helloworld.svc.cluster.local", client.WithHTTPClient(system.Client()))
	return &stage{root, system, models, greeter}, err
}

// command shows what a user would type.
func command(format string, args ...any) {
	fmt.Println("$ " + console.Escape(fmt.Sprintf(format, args...)))
}

func (s *stage) resource(resource string) dynamic.ResourceInterface {
	return s.models.Resource(v1alpha1.GroupVersion.WithResource(resource)).Namespace(namespace)
}

// apply applies the models of a YAML file.
func (s *stage) apply(ctx context.Context, file string) error {
	command("kubectl apply -f %s", file)
	f, err := os.Open(filepath.Join(s.root, file))
	if err != nil {
		return err
	}
	defer f.Close()
	for documents := yaml.NewYAMLOrJSONDecoder(f, 4096); ; {
		u := &unstructured.Unstructured{}
		if err := documents.Decode(u); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		gvr := u.GroupVersionKind().GroupVersion().WithResource(strings.ToLower(u.GetKind()) + "s")
		_, err := s.models.Resource(gvr).Namespace(u.GetNamespace()).Apply(ctx, u.GetName(), u, metav1.ApplyOptions{FieldManager: "demo"})
		if err != nil {
			return err
		}
	}
}

func (s *stage) patch(ctx context.Context, resource, name, patch string) error {
	command("kubectl patch %s %s --type merge -p '%s'", resource, name, patch)
	_, err := s.resource(resource).Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

func (s *stage) deleteAll(ctx context.Context, resource string) error {
	command("kubectl delete %s --all --wait=false", resource)
	return s.resource(resource).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
}

func (s *stage) names(ctx context.Context, resource string) ([]string, error) {
	list, err := s.resource(resource).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, u := range list.Items {
		names = append(names, u.GetName())
	}
	return names, nil
}

// ready reports whether the object's condition Ready is True for its current generation.
func (s *stage) ready(ctx context.Context, resource, name string) (bool, error) {
	u, err := s.resource(resource).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	observed, _, _ := unstructured.NestedInt64(u.Object, "status", "observedGeneration")
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	return observed == u.GetGeneration() && slices.ContainsFunc(conditions, func(c any) bool {
		condition, _ := c.(map[string]any)
		return condition["type"] == "Ready" && condition["status"] == "True"
	}), nil
}

// publish sends a request for a greeting to the Broker of the micro-services.
func (s *stage) publish(ctx context.Context, data string) error {
	return s.curl(ctx, http.MethodPost, s.system.BrokerURL(namespace, "events"), http.Header{
		"Ce-Specversion": {"1.0"}, "Ce-Id": {uuid.NewString()}, "Ce-Source": {"/demo"}, "Ce-Type": {api.TypeRequested},
		"Content-Type": {"application/json"},
	}, data, "")
}

// curl sends a request, shows it and its answer, and fails unless that is 2xx and says what was expected.
func (s *stage) curl(ctx context.Context, method, url string, header http.Header, body, says string) error {
	shown := fmt.Sprintf("curl -X %s '%s'", method, url)
	for name := range header {
		if name != "Authorization" {
			shown += fmt.Sprintf(" -H '%s: %s'", strings.ToLower(name), header.Get(name))
		}
	}
	switch {
	case strings.Contains(body, "\n"):
		shown += " --data-binary @recipe.yml"
	case body != "":
		shown += " -d '" + body + "'"
	}
	command("%s", shown)
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header = header
	if strings.HasSuffix(req.URL.Hostname(), ".localhost") {
		// curl and browsers know where that is, Go's resolver may not.
		req.Host = req.URL.Host
		req.URL.Host = strings.TrimPrefix(s.system.URL(), "http://")
	}
	resp, err := s.system.Client().Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	fmt.Println(console.EscapeLines(resp.Status + " " + strings.TrimSpace(string(answer))))
	if resp.StatusCode/100 != 2 || !strings.Contains(string(answer), says) {
		return fmt.Errorf("%s %s: expected 2xx with %q, got %s: %s", method, url, says, resp.Status, answer)
	}
	return nil
}

// until waits for a condition.
func (s *stage) until(ctx context.Context, what string, condition func() (bool, error)) error {
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, patience, true, func(context.Context) (bool, error) { return condition() })
	if err != nil {
		return fmt.Errorf("waiting until %s: %w", what, err)
	}
	fmt.Printf("  ok: %s\n", what)
	return nil
}

// greets waits until the greeter greets exactly like this, and shows it.
func (s *stage) greets(ctx context.Context, want ...string) error {
	var have []string
	err := s.until(ctx, fmt.Sprintf("the greeter says %q", want), func() (bool, error) {
		list, err := s.greeter.List(ctx, client.ListOptions{})
		if err != nil {
			return false, err
		}
		have = messages(list.Items)
		slices.Sort(want)
		return slices.Equal(have, want), nil
	})
	if err != nil {
		return fmt.Errorf("%w; it says %q", err, have)
	}
	return nil
}

func messages(greetings []api.Greeting) []string {
	var all []string
	for _, g := range greetings {
		all = append(all, g.Message)
	}
	slices.Sort(all)
	return all
}

// table shows the models as kubectl does: the API server makes the columns.
func (s *stage) table(ctx context.Context) error {
	for _, resource := range []string{"helloworldservices", "helloworldserviceinstances"} {
		command("kubectl get %s -n %s", resource, namespace)
		if err := printTable(ctx, s.system.Config(), v1alpha1.GroupVersion, resource); err != nil {
			return err
		}
	}
	return nil
}

func printTable(ctx context.Context, config *rest.Config, gv schema.GroupVersion, resource string) error {
	config.GroupVersion, config.APIPath = &gv, "/apis"
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	c, err := rest.RESTClientFor(config)
	if err != nil {
		return err
	}
	var table metav1.Table
	err = c.Get().Namespace(namespace).Resource(resource).
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").Do(ctx).Into(&table)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	var shown []int
	for i, c := range table.ColumnDefinitions {
		if c.Priority == 0 {
			shown = append(shown, i)
			fmt.Fprintf(w, "%s\t", strings.ToUpper(c.Name))
		}
	}
	fmt.Fprintln(w)
	for _, row := range table.Rows {
		for _, i := range shown {
			cell := row.Cells[i]
			if cell == nil {
				cell = ""
			}
			fmt.Fprintf(w, "%s\t", console.Escape(fmt.Sprint(cell)))
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}
