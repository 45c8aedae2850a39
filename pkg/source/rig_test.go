package source

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"path"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unique"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	gocmp "github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/local/kubeapi"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
	"github.com/xos-knative/synchronizer/pkg/model"
)

// patience bounds every wait for what has to come, on a slow, busy machine.
const patience = 2 * time.Minute

// TestMain has the tests share one API server.
func TestMain(m *testing.M) {
	flag.Parse()
	// Tests wait for the API server for most of their time, and do it side by side.
	if err := flag.Set("test.parallel", "8"); err != nil {
		log.Fatal(err)
	}
	kubeapitest.Main(m, kubeapi.Options{CRDs: []string{"../testdata/library/config/crds"}})
}

// definition is a model of a test. Its objects may look like anything.
type definition struct {
	kind, steps, dependsOn string
	// labelled: "true" makes it a model.
	labelled string
	// usesObserved is a path of dependsOn.
	usesObserved string
}

var (
	owners = definition{kind: "Owner", steps: "sync", labelled: "true"}
	items  = definition{kind: "Item", steps: "sync", dependsOn: "Owner=spec.owner", labelled: "true"}
	things = definition{kind: "Thing", steps: "sync,policy", labelled: "true"}
	loans  = definition{kind: "Loan", steps: "policy", dependsOn: "Owner=spec.owner", labelled: "true"}
)

func (d definition) plural() string { return strings.ToLower(d.kind) + "s" }

func (d definition) yaml(group string) []byte {
	return fmt.Appendf(nil, `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: %[3]s.%[1]s
  labels: {%[4]s: %[5]q, %[11]s: %[1]s}
  annotations: {%[6]s: %[7]q, %[8]s: %[9]q, %[12]s: %[13]q}
spec:
  group: %[1]s
  scope: Namespaced
  names: {kind: %[2]s, listKind: %[2]sList, plural: %[3]s, singular: %[10]s}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}
`, group, d.kind, d.plural(), model.LabelModel, d.labelled, model.AnnotationSteps, d.steps,
		model.AnnotationDependsOn, d.dependsOn, strings.ToLower(d.kind), rigLabel, model.AnnotationUsesObserved, d.usesObserved)
}

// rig is a source between a real API and a sink that records, with objects of the test's own, a
// clock that stands still, and a small engine in place of the functions.
type rig struct {
	*testing.T
	server *kubeapi.Server
	config *rest.Config
	// label that the definitions of the group have, and the objects of the rig.
	group, label string
	// namespace of the objects, another one for each rig.
	namespace string

	client dynamic.Interface
	models *model.Client
	clock  *clocktesting.FakeClock
	logs   *observer.ObservedLogs

	source *Source
	// stop ends the source and waits until Run has returned.
	stop func()

	// events are those that the sink has accepted.
	events chan cloudevents.Event
	// tries counts all events that were sent to the sink.
	tries atomic.Int64
	// answer of the sink; nil accepts everything.
	answer atomic.Pointer[Send]

	defined   []definition
	sentinels int
}

// sharedGroup has owners, items, things and loans. They are defined once, because a definition takes
// the API server longer than most tests take.
const sharedGroup = "shared.example.dev"

var (
	sharedOnce sync.Once
	sharedErr  error
)

func defineIn(ctx context.Context, server *kubeapi.Server, group string, definitions ...definition) error {
	var docs [][]byte
	for _, d := range definitions {
		docs = append(docs, d.yaml(group))
	}
	return server.ApplyCRDDocuments(ctx, docs...)
}

var rigs atomic.Int64

// newRig has objects of the shared definitions, and does not start the source yet. The test runs
// beside others.
func newRig(t *testing.T, definitions ...definition) *rig {
	t.Helper()
	t.Parallel()
	server := kubeapitest.Shared(t)
	// Not with the test's context: the definitions outlive the test that is the first.
	sharedOnce.Do(func() { sharedErr = defineIn(context.Background(), server, sharedGroup, owners, items, things, loans) })
	if sharedErr != nil {
		t.Fatal(sharedErr)
	}
	r := newRigOn(t, server, sharedGroup)
	r.defined = definitions
	return r
}

// newOwnRig is newRig for a test that changes definitions: they are in a group of its own.
func newOwnRig(t *testing.T, definitions ...definition) *rig {
	t.Helper()
	t.Parallel()
	r := newRigOn(t, kubeapitest.Shared(t), "")
	r.define(definitions...)
	return r
}

// newRigOn is a rig with the definitions of a group, or without any in a group of its own.
func newRigOn(t *testing.T, server *kubeapi.Server, group string) *rig {
	t.Helper()
	label := fmt.Sprintf("t%d", rigs.Add(1))
	r := &rig{
		T: t, server: server, config: server.Config(), group: cmp.Or(group, label+".example.dev"), label: label, namespace: kubeapitest.Namespace(t),
		clock: clocktesting.NewFakeClock(time.Now().Truncate(time.Second)), stop: func() {},
		events: make(chan cloudevents.Event, 100_000),
	}
	r.config.Wrap(func(rt http.RoundTripper) http.RoundTripper { return ownPart{rt, r.group, r.label} })
	var err error
	if r.client, err = dynamic.NewForConfig(server.Config()); err != nil {
		t.Fatal(err)
	}
	if r.models, err = model.NewClient(server.Config()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.stop() })
	return r
}

// rigLabel is on all definitions, with their group as value, and on all objects, with their rig's label.
const rigLabel = "rig"

// ownPart hides from the source what belongs to other tests: definitions of other groups, and objects
// of other rigs.
type ownPart struct {
	http.RoundTripper
	group, label string
}

func (o ownPart) RoundTrip(q *http.Request) (*http.Response, error) {
	value := o.label
	if strings.HasSuffix(q.URL.Path, "/customresourcedefinitions") {
		value = o.group
	}
	q = q.Clone(q.Context())
	query := q.URL.Query()
	selectors := []string{rigLabel + "=" + value}
	if s := query.Get("labelSelector"); s != "" {
		selectors = append(selectors, s)
	}
	query.Set("labelSelector", strings.Join(selectors, ","))
	q.URL.RawQuery = query.Encode()
	return o.RoundTripper.RoundTrip(q)
}

// in has the rig report to a subtest, until the returned function is called.
func (r *rig) in(t *testing.T) func() {
	parent := r.T
	r.T = t
	return func() { r.T = parent }
}

// define makes or changes models.
func (r *rig) define(definitions ...definition) {
	r.Helper()
	if err := defineIn(context.Background(), r.server, r.group, definitions...); err != nil {
		r.Fatal(err)
	}
	for _, d := range definitions {
		r.defined = append(slices.DeleteFunc(r.defined, func(o definition) bool { return o.kind == d.kind }), d)
	}
	// A model client believes for a minute what it has read of definitions.
	var err error
	if r.models, err = model.NewClient(r.server.Config()); err != nil {
		r.Fatal(err)
	}
}

// deleteDefinition deletes a model and waits until it is gone.
func (r *rig) deleteDefinition(d definition) {
	r.Helper()
	for _, u := range r.list(d.kind) {
		if len(u.GetFinalizers()) > 0 {
			r.updateIn(u.GetNamespace(), d.kind, u.GetName(), fields{"metadata.finalizers": []string{}})
		}
	}
	c, name := r.client.Resource(model.CRDs), d.plural()+"."+r.group
	if err := c.Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
		r.Fatal(err)
	}
	r.await("the definition to go", func() bool {
		_, err := c.Get(context.Background(), name, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	r.defined = slices.DeleteFunc(r.defined, func(o definition) bool { return o.kind == d.kind })
}

// list reads all objects of a kind that are the rig's.
func (r *rig) list(kind string) []unstructured.Unstructured {
	r.Helper()
	l, err := r.resource(kind, "").List(context.Background(), metav1.ListOptions{LabelSelector: rigLabel + "=" + r.label})
	if err != nil {
		r.Fatal(err)
	}
	return l.Items
}

// start runs the source.
func (r *rig) start(options Options) {
	r.Helper()
	if options.Clock == nil {
		options.Clock = r.clock
	}
	options.Objects = cmp.Or(options.Objects, 1)
	core, logs := observer.New(zapcore.InfoLevel)
	r.logs = logs
	ctx, cancel := context.WithCancel(logging.WithLogger(context.Background(), zap.New(core).Sugar()))
	ended := make(chan error, 1)
	// Goroutines inherit the label, so that those left behind can be told from
	// those of other tests.
	pprof.Do(ctx, pprof.Labels(rigLabel, r.label), func(ctx context.Context) {
		source, err := New(r.config, r.send, options)
		if err != nil {
			r.Fatal(err)
		}
		verifyAlways(&source.tracker, r.Errorf)
		r.source = source
		go func() { ended <- source.Run(ctx) }()
	})
	r.stop = func() {
		r.stop = func() {}
		if goroutines(r.label) == "" {
			r.Error("the search for goroutines left behind finds not even those that run")
		}
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				r.Errorf("Run: expected no error, got %v", err)
			}
		case <-time.After(patience):
			r.Error("Run has not returned")
		}
		left := ""
		_ = wait.PollUntilContextTimeout(context.Background(), 20*time.Millisecond, patience, true, func(context.Context) (bool, error) {
			left = goroutines(r.label)
			return left == "", nil
		})
		if left != "" {
			r.Errorf("Run has left goroutines behind:\n%s", left)
		}
	}
}

// goroutines lists those that the rig's source has started. The connections
// of the client are not its own.
func goroutines(label string) string {
	var all bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&all, 1)
	var found []string
	for g := range strings.SplitSeq(all.String(), "\n\n") {
		if strings.Contains(g, fmt.Sprintf("%q:%q", rigLabel, label)) && !strings.Contains(g, "net/http") && !strings.Contains(g, "/http2.") {
			found = append(found, g)
		}
	}
	return strings.Join(found, "\n\n")
}

// send is the sink.
func (r *rig) send(ctx context.Context, e cloudevents.Event) error {
	r.tries.Add(1)
	if answer := r.answer.Load(); answer != nil {
		if err := (*answer)(ctx, e); err != nil {
			return err
		}
	}
	r.events <- e
	return nil
}

func (r *rig) answerWith(answer Send) { r.answer.Store(&answer) }

// step lets time pass. The queue may just be setting a timer by the time before;
// what is added makes it look at the clock again.
func (r *rig) step(d time.Duration) {
	r.clock.Step(d)
	r.source.queue.AddAfter(unique.Make(key{}), time.Nanosecond)
}

// await waits for a condition.
func (r *rig) await(what string, condition func() bool) {
	r.Helper()
	err := wait.PollUntilContextTimeout(r.Context(), time.Millisecond, patience, true, func(context.Context) (bool, error) { return condition(), nil })
	if err != nil {
		r.Fatalf("waiting for %s: %v", what, err)
	}
}

// next waits for the next event.
func (r *rig) next() cloudevents.Event {
	r.Helper()
	select {
	case e := <-r.events:
		return e
	case <-time.After(patience):
		r.Fatal("waiting for an event: none came")
	}
	panic("unreachable")
}

// line is what is expected of an event: type, kind, name, step and attempt.
func line(e cloudevents.Event) string {
	return fmt.Sprintf("%s %s/%s %s #%s", path.Ext(e.Type())[1:], e.Extensions()[model.ExtensionKind], e.Subject(),
		e.Extensions()[model.ExtensionStep], path.Base(e.ID()))
}

// expect waits for as many events as there are lines and compares them in any
// order. It returns them in the order of their lines, sorted.
func (r *rig) expect(reason string, lines ...string) []cloudevents.Event {
	r.Helper()
	var got []cloudevents.Event
	for range lines {
		select {
		case e := <-r.events:
			got = append(got, e)
			continue
		case <-time.After(patience):
		}
		break // The difference tells what is missing.
	}
	slices.SortFunc(got, func(a, b cloudevents.Event) int { return strings.Compare(line(a), line(b)) })
	var gotLines []string
	for _, e := range got {
		gotLines = append(gotLines, line(e))
	}
	slices.Sort(lines)
	if diff := gocmp.Diff(lines, gotLines); diff != "" {
		r.Fatalf("%s: events: -want, +got:\n%s", reason, diff)
	}
	return got
}

// quiet fails if there are events that nobody expects. The proof that the
// source has seen all that was done before is that it reports an object that
// was made after it.
func (r *rig) quiet(reason string) {
	r.Helper()
	r.sentinels++
	name := fmt.Sprintf("sentinel-%d", r.sentinels)
	want := 0
	for _, d := range r.defined {
		if d.steps != "" && d.labelled == "true" {
			r.createIn(r.sentinelNamespace(), d.kind, name, nil)
			want += len(strings.Split(d.steps, ","))
		}
	}
	for range want {
		e := r.next()
		if e.Subject() != name {
			r.Fatalf("%s: expected no event, got %s", reason, line(e))
		}
		r.settle(e, &model.StepStatus{State: model.StateOK})
	}
	for _, d := range r.defined {
		err := r.resource(d.kind, r.sentinelNamespace()).Delete(context.Background(), name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			r.Fatal(err)
		}
	}
}

// sentinelNamespace is another one than that of the test's objects, which sentinels must not count among.
func (r *rig) sentinelNamespace() string { return r.namespace + "-sentinels" }

func (r *rig) groupKind(kind string) schema.GroupKind {
	return schema.GroupKind{Group: r.group, Kind: kind}
}

func (r *rig) kind(name string) *model.Kind {
	r.Helper()
	k, err := r.models.Kind(context.Background(), r.groupKind(name))
	if errors.Is(err, model.ErrNoModel) {
		k, err = r.models.Retired(context.Background(), r.groupKind(name).WithVersion("v1"))
	}
	if err != nil {
		r.Fatal(err)
	}
	return k
}

func (r *rig) resource(kind, ns string) dynamic.ResourceInterface {
	gvr := schema.GroupVersionResource{Group: r.group, Version: "v1", Resource: strings.ToLower(kind) + "s"}
	return r.client.Resource(gvr).Namespace(ns)
}

// fields sets fields of an object by their paths.
type fields map[string]any

func (r *rig) create(kind, name string, set fields) {
	r.Helper()
	r.createIn(r.namespace, kind, name, set)
}

func (r *rig) createIn(ns, kind, name string, set fields) {
	r.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"secret": "of the spec"}}}
	u.SetAPIVersion(r.group + "/v1")
	u.SetKind(kind)
	u.SetName(name)
	u.SetLabels(map[string]string{rigLabel: r.label})
	apply(u, set)
	if _, err := r.resource(kind, ns).Create(context.Background(), u, metav1.CreateOptions{}); err != nil {
		r.Fatal(err)
	}
}

func apply(u *unstructured.Unstructured, set fields) {
	for path, value := range set {
		switch key, isAnnotation := strings.CutPrefix(path, "@"); {
		case isAnnotation:
			annotations := u.GetAnnotations()
			if annotations == nil {
				annotations = map[string]string{}
			}
			if annotations[key] = fmt.Sprint(value); value == nil {
				delete(annotations, key)
			}
			u.SetAnnotations(annotations)
		case path == "metadata.finalizers":
			u.SetFinalizers(value.([]string))
		case value == nil:
			unstructured.RemoveNestedField(u.Object, strings.Split(path, ".")...)
		default:
			_ = unstructured.SetNestedField(u.Object, value, strings.Split(path, ".")...)
		}
	}
}

// update changes fields of an object; those of the status with a request of
// its own.
func (r *rig) update(kind, name string, set fields) {
	r.Helper()
	r.updateIn(r.namespace, kind, name, set)
}

func (r *rig) updateIn(ns, kind, name string, set fields) {
	r.Helper()
	c := r.resource(kind, ns)
	u, err := c.Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		r.Fatal(err)
	}
	apply(u, set)
	var subresources []string
	for path := range set {
		if strings.HasPrefix(path, "status") {
			subresources = []string{"status"}
		}
	}
	if _, err := c.Update(context.Background(), u, metav1.UpdateOptions{}, subresources...); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) delete(kind, name string) {
	r.Helper()
	if err := r.resource(kind, r.namespace).Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
		r.Fatal(err)
	}
}

// object is an object as the API has it.
type object struct {
	*model.Snapshot
	live *unstructured.Unstructured
}

// get reads an object.
func (r *rig) get(namespace, kind, name string) object {
	r.Helper()
	k := r.kind(kind)
	u, err := r.models.Live(context.Background(), k, namespace, name)
	if err != nil {
		r.Fatal(err)
	}
	o, err := k.SnapshotOf(u)
	if err != nil {
		r.Fatal(err)
	}
	return object{o, u}
}

// live reads the object that an event is about.
func (r *rig) live(e cloudevents.Event) (object, model.Step) {
	r.Helper()
	refs, err := model.ParseReferences(e)
	if err != nil {
		r.Fatal(err)
	}
	ref := refs[0]
	return r.get(ref.Namespace, ref.Kind, ref.Name), model.Step(e.Extensions()[model.ExtensionStep].(string))
}

// setStep stores an outcome, as an engine does.
func (r *rig) setStep(o object, step model.Step, outcome *model.StepStatus) {
	r.Helper()
	if err := r.models.SetStep(context.Background(), o.Kind, o.live, step, outcome); err != nil {
		r.Fatal(err)
	}
}

// settle acknowledges an event with an outcome, as an engine does, and waits
// until the source has seen it.
func (r *rig) settle(e cloudevents.Event, outcome *model.StepStatus) {
	r.Helper()
	o, step := r.live(e)
	outcome = outcome.DeepCopy()
	outcome.Generation, outcome.RequestedAt = o.Generation, o.Annotations[model.AnnotationRequestedAt]
	before := r.inFlight(o.Snapshot, step)
	r.setStep(o, step, outcome)
	r.await("the acknowledgement to be seen", func() bool { return before == nil || r.inFlight(o.Snapshot, step) != before })
}

// inFlight is what is in flight for the step of the object.
func (r *rig) inFlight(o *model.Snapshot, step model.Step) *delivery {
	r.source.mu.Lock()
	defer r.source.mu.Unlock()
	t := r.source.tasks[keyOf(o, step)]
	if t == nil {
		return nil
	}
	return t.inFlight
}

// work handles events as an engine does whose steps always succeed: it acts
// only on what is due, waits for what is in the way, and cleans up.
func (r *rig) work(events ...cloudevents.Event) {
	r.Helper()
	ctx := context.Background()
	for _, e := range events {
		o, step := r.live(e)
		n, err := r.models.Neighbours(ctx, step, o.Snapshot)
		if err != nil {
			r.Fatal(err)
		}
		verdict := model.Due(step, o.Snapshot, n, r.clock.Now())
		switch {
		case !verdict.Due():
		case verdict.Reason == model.DueReport:
			if err := r.models.Report(ctx, o.Kind, o.live); err != nil {
				r.Fatal(err)
			}
		case o.Problem != "" && !o.Deleting():
			r.settle(e, &model.StepStatus{State: model.StateFailed, Permanent: true, Message: o.Problem})
		case len(verdict.Blockers) > 0:
			r.settle(e, &model.StepStatus{State: model.StateWaiting, WaitingFor: verdict.Blockers})
		case o.Deleting():
			if _, err := r.models.RemoveFinalizer(ctx, o.Kind, o.live, step); err != nil {
				r.Fatal(err)
			}
		default:
			if !o.Carries(step) {
				if _, err := r.models.AddFinalizer(ctx, o.Kind, o.live, step); err != nil {
					r.Fatal(err)
				}
			}
			outcome := &model.StepStatus{State: model.StateOK}
			if step == model.StepPolicy {
				outcome.ObservedRevision = o.Status.ObservedRevision
			}
			for _, d := range n.Dependencies {
				if d.Object != nil {
					outcome.Dependencies = append(outcome.Dependencies, model.DependencyStatus{
						Kind: d.GroupKind.Kind, Name: d.Name, UID: string(d.Object.UID), Generation: d.Object.Generation, ObservedRevision: d.Object.Status.ObservedRevision})
				}
			}
			r.settle(e, outcome)
		}
	}
}

// lanes gives a look at a lane of the source.
func (r *rig) lane(kind string, step model.Step, look func(*lane) bool) bool {
	r.source.mu.Lock()
	defer r.source.mu.Unlock()
	l := r.source.lanes[key{groupKind: r.groupKind(kind), step: step}]
	return l != nil && look(l)
}

var errDown = errors.New("the sink is down")

func metaTime(t time.Time) *metav1.Time { return &metav1.Time{Time: t} }

func itoa(i int) string { return strconv.Itoa(i) }
