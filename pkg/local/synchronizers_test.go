package local_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/xos-knative/synchronizer/pkg/local"
)

// keeperYAML is a synchronizer's namespace with a program that keeps events, called like one of the core.
const keeperYAML = `
apiVersion: v1
kind: Namespace
metadata: {name: other}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: keeper, namespace: other, labels: {app: keeper}}
spec:
  selector: {matchLabels: {app: keeper}}
  template:
    metadata: {labels: {app: keeper}}
    spec:
      containers:
      - name: keeper
        image: ko://github.com/xos-knative/synchronizer/pkg/local/testdata/echo
        env: [{name: KEEP, value: /data/events}]
        volumeMounts: [{name: data, mountPath: /data}]
      volumes:
      - name: data
        persistentVolumeClaim: {claimName: keeper}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: keeper, namespace: other}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 10Mi}}}
---
apiVersion: v1
kind: Service
metadata: {name: kept, namespace: other}
spec: {selector: {app: keeper}, ports: [{port: 80}]}
`

// wiresYAML joins it to a Broker of the core, and has a Broker of its own whose dead letters the core takes.
const wiresYAML = `
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: other, namespace: test}
spec:
  broker: sync
  filters: [{exact: {type: other}}]
  subscriber: {ref: {apiVersion: v1, kind: Service, name: kept, namespace: other}, uri: /keep}
---
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: own, namespace: other}
spec:
  delivery:
    deadLetterSink: {ref: {apiVersion: v1, kind: Service, name: kept, namespace: test}, uri: /keep}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: refused, namespace: other}
spec:
  broker: own
  filters: [{exact: {type: refused}}]
  subscriber: {ref: {apiVersion: v1, kind: Service, name: kept}, uri: /keep}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: long, namespace: other}
spec:
  broker: own
  filters: [{exact: {type: long}}]
  subscriber: {uri: "http://kept.other.svc.cluster.local/?status=422"}
`

// synchronizer makes the directory of a synchronizer.
func synchronizer(t *testing.T, name, config, eventing string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	for folder, content := range map[string]string{"config": config, "eventing": eventing} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, folder, "f.yaml"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// keptBy are the events with an id that the keeper of a namespace has got.
func keptBy(t *testing.T, dir, namespace, id string) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "volumes", namespace, "keeper", "events", id+"-*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// publish sends events to the asynchronous Broker of the core until stop is called, which returns how many were accepted.
func publish(t *testing.T, s *local.System) (stop func() int) {
	ctx, cancel := context.WithCancel(t.Context())
	accepted := make(chan int)
	go func() {
		n := 0
		defer func() { accepted <- n }()
		for ctx.Err() == nil {
			if got := send(t, s, "async", fmt.Sprintf("p%d", n), "any", nil); got != http.StatusAccepted {
				t.Errorf("event %d: want 202, got %d", n, got)
				return
			}
			n++
		}
	}()
	return func() int {
		cancel()
		return <-accepted
	}
}

// TestSynchronizer adds a synchronizer to what runs and removes it, while events are on their way.
func TestSynchronizer(t *testing.T) {
	dir := t.TempDir()
	s := start(t, local.Options{Dir: dir})
	before := s.Programs()
	t.Run("Errors", func(t *testing.T) { addErrors(t, s) })
	t.Run("Nobody", func(t *testing.T) { addNobody(t, s) })
	stop := publish(t, s)
	t.Run("Add", func(t *testing.T) { addOther(t, s, dir) })
	t.Run("DeadLetters", func(t *testing.T) { deadLetters(t, s, dir) })
	t.Run("Remove", func(t *testing.T) { removeOther(t, s, dir) })
	n := stop()
	eventually(t, fmt.Sprintf("all %d events have arrived", n), func() bool { return keptBy(t, dir, "test", "p*") == n })
	for i, now := range s.Programs() {
		if now.Namespace != before[i].Namespace || now.Name != before[i].Name || now.Starts != before[i].Starts {
			t.Errorf("the core's programs must go on: before %+v, now %+v", before[i], now)
		}
	}
}

// addOther adds a synchronizer with a program called like one of the core.
func addOther(t *testing.T, s *local.System, dir string) {
	source := synchronizer(t, "other", keeperYAML, wiresYAML)
	if err := s.Add(t.Context(), source); err != nil {
		t.Fatal(err)
	}
	if got := s.Synchronizers(); !slices.Equal(got, []string{"other"}) {
		t.Errorf("want the synchronizer other, got %q", got)
	}
	if a, b := s.Program("test", "keeper"), s.Program("other", "keeper"); a.PID == b.PID || !a.Running() || !b.Running() {
		t.Errorf("programs of one name in two namespaces are two programs: %+v %+v", a, b)
	}
	for _, file := range []string{"pids/other/keeper", "logs/other/keeper.log", "pids/test/keeper", "logs/test/keeper.log"} {
		if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
			t.Errorf("files of programs have namespace and name: %v", err)
		}
	}
	if got := send(t, s, "sync", "o1", "other", nil); got != http.StatusAccepted || keptBy(t, dir, "other", "o1") != 1 {
		t.Errorf("a Trigger of the core's namespace must deliver to the synchronizer's, got %d and %d events", got, keptBy(t, dir, "other", "o1"))
	}
	if err := s.Add(t.Context(), source); err == nil || !strings.Contains(err.Error(), "other runs already") {
		t.Errorf("a synchronizer can be there once, got %v", err)
	}
}

// deadLetters: a dead letter sink may be in another namespace and have a path, and learns what Knative says of a failure.
func deadLetters(t *testing.T, s *local.System, dir string) {
	// The sink answers as the subscriber does.
	sendTo(t, s, "/other/own", "o2", "refused", map[string]string{"answer": "422"})
	events := kept(t, dir, "o2")
	if len(events) != 1 {
		t.Fatalf("want one dead letter in the core's namespace, got %d", len(events))
	}
	h := events[0].Headers
	data, _ := base64.StdEncoding.DecodeString(h["Ce-Knativeerrordata"])
	if h["Ce-Knativeerrorcode"] != "422" || h["Ce-Knativeerrordest"] != "http://kept.other.svc.cluster.local/keep" || string(data) != "because I was told to\n" {
		t.Errorf("want code, destination and answer of the subscriber, got %v, %q", h, data)
	}
	if got := sendTo(t, s, "/other/own", "o5", "long", nil); got != http.StatusInternalServerError {
		t.Errorf("a long answer makes Knative's dispatcher panic, which only fails the delivery: got %d", got)
	}
}

// removeOther removes what addOther has added. A user of it keeps it.
func removeOther(t *testing.T, s *local.System, dir string) {
	user := synchronizer(t, "user", "", strings.NewReplacer("name: long", "name: user").Replace(wiresYAML[strings.LastIndex(wiresYAML, "---"):]))
	if err := s.Add(t.Context(), user); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), "other"); err == nil || !strings.Contains(err.Error(), "Trigger other/user: spec.broker") {
		t.Errorf("what others refer to cannot be removed, got %v", err)
	}
	for _, name := range []string{"user", "other"} {
		if err := s.Remove(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if got := send(t, s, "sync", "o3", "other", nil); got != http.StatusAccepted {
		t.Errorf("the core's Broker must go on, got %d", got)
	}
	if got := sendTo(t, s, "/other/own", "o4", "any", nil); got != http.StatusNotFound {
		t.Errorf("its Broker must be gone, got %d", got)
	}
	if status, _ := get(t, s, "kept.other.svc.cluster.local", "/"); status != http.StatusNotFound {
		t.Errorf("its Service must be gone, got %d", status)
	}
	if _, err := os.Stat(filepath.Join(dir, "volumes", "other", "keeper")); !os.IsNotExist(err) {
		t.Errorf("its volumes must be gone, got %v", err)
	}
}

// addErrors adds what cannot be run: nothing changes.
func addErrors(t *testing.T, s *local.System) {
	before := s.Programs()
	cases := map[string]struct {
		reason           string
		config, eventing string
		want             []string
	}{
		"Field":     {reason: "A field that no type has is named, with its file.", config: strings.Replace(keeperYAML, "image:", "imge:", 1), want: []string{"f.yaml", "imge"}},
		"Reference": {reason: "So is a reference to something that is not there.", eventing: strings.Replace(wiresYAML, "broker: sync", "broker: nobody", 1), want: []string{"f.yaml", "Trigger test/other", "spec.broker", "nobody"}},
		"Twice":     {reason: "An object of the core cannot be replaced.", eventing: strings.Replace(wiresYAML, "name: other", "name: good", 1), config: keeperYAML, want: []string{"Trigger test/good", "wires.yaml"}},
		"Changed": {reason: "Nor can a program of the core be changed.", eventing: `
apiVersion: sources.knative.dev/v1
kind: SinkBinding
metadata: {name: more, namespace: test}
spec:
  subject: {apiVersion: apps/v1, kind: Deployment, name: keeper}
  sink: {ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: async}}
`, want: []string{"test/keeper runs already"}},
		"Program": {reason: "A program that was not built is named.", config: strings.Replace(keeperYAML, "testdata/echo", "testdata/nothing", 1), want: []string{"testdata/nothing"}},
		"Definition": {reason: "What the API does not accept is named.", config: `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: wrong.example.com}
spec: {group: example.com, names: {kind: Right, plural: rights}, scope: Namespaced, versions: []}
`, want: []string{"wrong.example.com"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			err := s.Add(t.Context(), synchronizer(t, "other", tc.config, tc.eventing))
			for _, want := range tc.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("\n%s\nwant an error with %q, got %v", tc.reason, want, err)
				}
			}
			if got := s.Programs(); len(got) != len(before) || len(s.Synchronizers()) != 0 {
				t.Errorf("nothing may change, got %v, %q", got, s.Synchronizers())
			}
		})
	}
}

// addNobody adds and removes what does not exist.
func addNobody(t *testing.T, s *local.System) {
	t.Helper()
	for source, want := range map[string]string{
		"nobody":        "there is no synchronizer nobody",
		"core":          "there is no synchronizer core",
		t.TempDir():     "expected a directory with config/ or eventing/ in it",
		"./testdata/no": "expected a directory with config/ or eventing/ in it",
	} {
		if err := s.Add(t.Context(), source); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: want an error with %q, got %v", source, want, err)
		}
	}
	for _, name := range []string{"core", "other", ""} {
		if err := s.Remove(t.Context(), name); err == nil {
			t.Errorf("%q cannot be removed", name)
		}
	}
}

// TestRemembered starts a System again and again: what was added and removed while the one before ran is as it was.
func TestRemembered(t *testing.T) {
	dir, out := t.TempDir(), &output{}
	source := synchronizer(t, "other", keeperYAML, wiresYAML)
	run := func(o local.Options, want []string, change func(s *local.System) error) {
		t.Helper()
		o.Dir, o.Out, o.Root, o.Bin = dir, out, project, bin
		s, err := local.Start(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Synchronizers(); !slices.Equal(got, want) {
			t.Errorf("want synchronizers %q, got %q", want, got)
		}
		if change != nil {
			if err := change(s); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	add := func(s *local.System) error { return s.Add(context.Background(), source) }
	remove := func(s *local.System) error { return s.Remove(context.Background(), "other") }
	flag := local.Options{Add: []string{source}}

	run(local.Options{}, nil, add)
	run(local.Options{}, []string{"other"}, remove)
	run(flag, []string{"other"}, remove)
	run(flag, nil, add)
	run(local.Options{}, nil, add)
	if err := os.RemoveAll(source); err != nil {
		t.Fatal(err)
	}
	run(local.Options{}, nil, nil)
	for _, want := range []string{"other                ! not started: it was removed", "other                ! not started: it was added"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("what is left out must be reported with %q, got %s", want, out)
		}
	}
}

// namespaceYAML is a resource that does nothing.
func namespaceYAML(name string) string {
	return "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + name + "}\n"
}

// TestProject chooses among the synchronizers of a project: the folders beside core, overlays and samples.
func TestProject(t *testing.T) {
	root := t.TempDir()
	write := func(file, content string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, file)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("config/core/f.yaml", namespaceYAML("c"))
	write("config/one/f.yaml", namespaceYAML("one"))
	write("eventing/two/f.yaml", namespaceYAML("two"))
	write("config/samples/f.yaml", namespaceYAML("samples"))
	write("config/overlays/f.yaml", namespaceYAML("overlays"))
	three := synchronizer(t, "three", namespaceYAML("three"), "")

	t.Run("All", func(t *testing.T) {
		if got := start(t, local.Options{Root: root}).Synchronizers(); !slices.Equal(got, []string{"one", "two"}) {
			t.Errorf("want all of the project, got %q", got)
		}
	})
	t.Run("Some", func(t *testing.T) {
		s := start(t, local.Options{Root: root, Only: []string{"core", "one"}, Add: []string{three}})
		if got := s.Synchronizers(); !slices.Equal(got, []string{"one", "three"}) {
			t.Errorf("want what was asked for, got %q", got)
		}
		if err := s.Add(t.Context(), "two"); err != nil {
			t.Fatalf("one of the project is added by its name: %v", err)
		}
		if got := s.Synchronizers(); !slices.Equal(got, []string{"one", "three", "two"}) {
			t.Errorf("want one more, got %q", got)
		}
	})

	write("eventing/loose.yaml", namespaceYAML("loose"))
	for name, tc := range map[string]struct {
		o    local.Options
		want string
	}{
		"Loose":     {o: local.Options{Root: root}, want: "eventing/loose.yaml: expected resources in a folder"},
		"NoProject": {o: local.Options{Root: t.TempDir()}, want: "neither config/core nor eventing/core"},
		"Unknown":   {o: local.Options{Root: project, Only: []string{"nobody"}}, want: "there is no synchronizer nobody"},
		"TwoOfName": {o: local.Options{Root: project, Add: []string{three, synchronizer(t, "three", "", "")}}, want: "two synchronizers are called three"},
	} {
		tc.o.Dir, tc.o.Bin = t.TempDir(), bin
		startFails(t, name, tc.o, tc.want)
	}
}
