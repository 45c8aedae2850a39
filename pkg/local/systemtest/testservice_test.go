package systemtest

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/utils/ptr"

	"github.com/xos-knative/synchronizer/pkg/local/localtest"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/testdata/testservice/api/v1alpha1"
)

// testService is the namespace of the test service.
const testService = "testservice"

type instance = v1alpha1.TestServiceInstance

// switched is a running project with the test service.
type switched struct {
	*localtest.World
	instances  model.Models[*instance]
	duplicates model.Models[*v1alpha1.TestServiceDuplicate]

	history *history
}

// history has all versions of all instances, the oldest first.
type history struct {
	// mu protects following.
	mu       sync.Mutex
	versions map[string][]*instance
}

func newSwitched(w *localtest.World) switched {
	w.Helper()
	models, err := model.NewClient(w.System.Config(), v1alpha1.AddToScheme)
	if err != nil {
		w.Fatal(err)
	}
	s := switched{w, model.For[*instance](models), model.For[*v1alpha1.TestServiceDuplicate](models), &history{versions: map[string][]*instance{}}}
	objects, err := dynamic.NewForConfig(w.System.Config())
	if err != nil {
		w.Fatal(err)
	}
	watch, err := objects.Resource(v1alpha1.GroupVersion.WithResource("testserviceinstances")).Namespace(testService).Watch(w.Context(), metav1.ListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	go func() {
		for event := range watch.ResultChan() {
			if u, ok := event.Object.(*unstructured.Unstructured); ok {
				s.history.add(u)
			}
		}
	}()
	return s
}

func (h *history) add(u *unstructured.Unstructured) {
	i, err := model.Typed[*instance](u)
	if err != nil {
		return // Then the history ends before the newest version, and the test fails.
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.versions[i.Name] = append(h.versions[i.Name], i)
}

func (h *history) of(name string) []*instance {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.versions[name])
}

// with is the same world for a subtest.
func (w switched) with(t *testing.T) switched {
	w.World = w.World.With(t)
	return w
}

// upload sends a recipe to function tosca.
func (w switched) upload(path, recipe string) (int, string) {
	w.Helper()
	body, err := os.ReadFile(filepath.Join(testdata(testService), "recipes", recipe+".yml"))
	if err != nil {
		w.Fatal(err)
	}
	return w.Post("http://tosca."+core+".svc.cluster.local"+path+"?namespace="+testService, string(body),
		map[string]string{"Authorization": "Bearer " + w.System.Config().BearerToken})
}

func (w switched) run(recipe string) {
	w.Helper()
	if code, answer := w.upload("/run", recipe); code != http.StatusOK {
		w.Fatalf("%s: expected 200, got %d %s", recipe, code, answer)
	}
}

// untilIdle waits until the steps do not run, because no request has come for a while.
func (w switched) untilIdle() {
	w.Helper()
	w.Until("the steps do not run", func() bool { return !w.System.Program(testService, "steps").Running() })
}

// handled waits until each step has run on the newest version of an instance, and nothing is due later, and
// returns that version.
func (w switched) handled(name string) (i *instance) {
	w.Helper()
	done := func(s *model.StepStatus) bool {
		return s != nil && s.State == model.StateOK && s.Generation == i.Generation && s.NextAttempt == nil
	}
	w.Until("the steps of "+name+" have run on its newest version", func() (ok bool) {
		var err error
		i, err = w.instances.Get(w.Context(), testService, name)
		return err == nil && done(i.Status.Sync) && done(i.Status.Policy) &&
			i.Status.Policy.ObservedRevision == i.Status.ObservedRevision && i.Status.GetCondition(model.ConditionReady).IsTrue()
	})
	return i
}

// testSwitches uploads a recipe for each switch of the test service, and waits for the ends that XOS's scripts wait for:
// each step has run on the newest version, and what a step adds one to is exactly one higher.
func testSwitches(world *localtest.World) {
	w := newSwitched(world)
	w.run("service")
	for recipe := range switches {
		w.run(recipe)
	}
	for recipe, tt := range switches {
		w.settles(recipe, tt)
	}
	before := w.System.Program(testService, "steps").Requests
	w.untilIdle()
	if after := w.System.Program(testService, "steps").Requests; after != before {
		w.Errorf("%d requests reached the steps although nothing had changed", after-before)
	}
	w.Run("Duplicate", func(t *testing.T) { w.with(t).duplicated() })
	w.Run("Alone", func(t *testing.T) { w.with(t).alone() })
	w.Run("Refused", func(t *testing.T) { w.with(t).refused() })
	w.untilIdle()
	for recipe, tt := range switches {
		w.settles(recipe, tt) // And stay so.
	}
}

type switchTest struct {
	reason string
	// waits is the step that must wait, and sees the state of the other one when it succeeds for the first time.
	waits model.Step
	sees  model.State
	// syncUpdates and policyUpdates are how often the steps have saved the instance.
	syncUpdates, policyUpdates int32
}

// switches has a recipe for each switch, and for those of which XOS has one together with an update.
var switches = map[string]switchTest{
	"minimal":                   {reason: "Both steps run"},
	"sync-after-policy":         {reason: "The sync waits for the end of the policy", waits: model.StepSync, sees: model.StateOK},
	"sync-during-policy":        {reason: "The policy lasts as long as the sync", waits: model.StepSync, sees: model.StateDeferred},
	"policy-after-sync":         {reason: "The policy waits for the end of the sync", waits: model.StepPolicy, sees: model.StateOK},
	"policy-during-sync":        {reason: "The sync lasts as long as the policy", waits: model.StepPolicy, sees: model.StateDeferred},
	"update-during-sync":        {reason: "The policy sees what the sync saves, the sync does not run again", syncUpdates: 1},
	"update-during-policy":      {reason: "The sync sees what the policy saves, the policy does not run again", policyUpdates: 1},
	"sync-after-policy-update":  {reason: "The policy has ended, and runs again", waits: model.StepSync, sees: model.StateOK, syncUpdates: 1},
	"sync-during-policy-update": {reason: "The policy waits for what the sync saves", waits: model.StepSync, sees: model.StateDeferred, syncUpdates: 1},
	"policy-after-sync-update":  {reason: "The sync has ended, and runs again", waits: model.StepPolicy, sees: model.StateOK, policyUpdates: 1},
	"policy-during-sync-update": {reason: "The sync waits for what the policy saves", waits: model.StepPolicy, sees: model.StateDeferred, policyUpdates: 1},
}

// settles waits until the steps have run on the newest version of the instance of a recipe, and checks that they have
// done so in the right order, and have saved it as often as they must.
func (w switched) settles(recipe string, tt switchTest) {
	w.Helper()
	name := "test-" + recipe
	i := w.handled(name)
	if i.Spec.SyncUpdates != tt.syncUpdates || i.Spec.PolicyUpdates != tt.policyUpdates {
		w.Errorf("%s: %s: the sync has saved it %d times, the policy %d times, expected %d and %d", recipe, tt.reason,
			i.Spec.SyncUpdates, i.Spec.PolicyUpdates, tt.syncUpdates, tt.policyUpdates)
	}
	if tt.waits == "" {
		return
	}
	w.Until("the history of "+name+" has its newest version", func() bool {
		return slices.ContainsFunc(w.history.of(name), func(v *instance) bool { return v.ResourceVersion == i.ResourceVersion })
	})
	if got := w.history.seenBy(tt.waits, name); got != tt.sees {
		w.Errorf("%s: %s: the other step was %q when the %s succeeded, expected %q", recipe, tt.reason, got, tt.waits, tt.sees)
	}
}

// seenBy is the state of the other step when this one succeeded for the first time.
func (h *history) seenBy(s model.Step, name string) model.State {
	for _, i := range h.of(name) {
		if status := i.Status.Step(s); status == nil || status.State != model.StateOK {
			continue
		}
		for _, other := range model.Steps() {
			if status := i.Status.Step(other); other != s && status != nil {
				return status.State
			}
		}
		break
	}
	return ""
}

// duplicated: the duplicate is like its original, follows it, goes when the switch is turned off, and with its original.
func (w switched) duplicated() {
	const recipe, name = "create-duplicate", "test-create-duplicate"
	defaults := v1alpha1.Values{Name: name, SomeString: "some", SomeFloat: ptr.To(3.5), SomeBool: true}
	w.run(recipe)
	w.copies(name, defaults)
	w.run(recipe + "-update")
	at := metav1.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	w.copies(name, v1alpha1.Values{Name: name, PolicyUpdates: 1, SomeString: "a line", SomeText: "two\nlines", SomeChoice: "two", SomeAddress: "192.0.2.1",
		SomeInt32: ptr.To[int32](-17), SomeUint32: ptr.To[uint32](4294967295), SomeFloat: ptr.To(0.25), SomeTime: &at})
	w.run(recipe + "-off")
	w.Until("the duplicate is gone", func() bool { return w.duplicate(name) == nil })
	w.run(recipe)
	w.Until("there is a duplicate again", func() bool { return w.duplicate(name) != nil })
	if i := w.handled(name); i.Spec.PolicyUpdates != 3 {
		w.Errorf("the policy has saved each of three versions once, got %d", i.Spec.PolicyUpdates)
	}
	if code, answer := w.upload("/delete", recipe); code != http.StatusOK {
		w.Fatalf("expected 200, got %d %s", code, answer)
	}
	w.Until("both are gone", func() bool {
		_, err := w.instances.Get(w.Context(), testService, name)
		return model.IsGone(err) && w.duplicate(name) == nil
	})
}

// duplicate is the one of an instance, nil if it has none.
func (w switched) duplicate(name string) *v1alpha1.TestServiceDuplicate {
	w.Helper()
	d, err := w.duplicates.Get(w.Context(), testService, name)
	if model.IsGone(err) {
		return nil
	}
	if err != nil {
		w.Fatal(err)
	}
	return d
}

// copies waits until the steps of an instance have run, and checks the values of the instance and of its duplicate.
func (w switched) copies(name string, want v1alpha1.Values) {
	w.Helper()
	i := w.handled(name)
	if diff := cmp.Diff(want, i.Spec.Values); diff != "" {
		w.Errorf("the original: -want +got:\n%s", diff)
	}
	d := w.duplicate(name)
	if d == nil {
		w.Fatal("there is no duplicate")
	}
	if diff := cmp.Diff(v1alpha1.TestServiceDuplicateSpec{Values: want, Original: v1alpha1.Reference{Name: name}}, d.Spec); diff != "" {
		w.Errorf("the duplicate: -want +got:\n%s", diff)
	}
}

// alone: no step waits for one that the instance has opted out of.
func (w switched) alone() {
	for recipe, runs := range map[string]model.Step{"sync-after-no-policy": model.StepSync, "policy-after-no-sync": model.StepPolicy} {
		w.run(recipe)
		w.Until("the "+string(runs)+" has run without the other step", func() bool {
			i, err := w.instances.Get(w.Context(), testService, "test-"+recipe)
			if err != nil || i.Status.Step(runs) == nil {
				return false
			}
			if state := i.Status.Step(runs).State; state != model.StateOK {
				w.Fatalf("%s: expected the %s to succeed at once, got %s", recipe, runs, state)
			}
			return i.Status.GetCondition(model.ConditionReady).IsTrue()
		})
	}
}

// refused: switches with which the steps would never end are not accepted.
func (w switched) refused() {
	for recipe, reason := range map[string]string{
		"two-waits":   "the steps would wait for each other",
		"two-updates": "the steps would wake each other without end",
	} {
		if code, answer := w.upload("/run", recipe); code != http.StatusBadRequest || !strings.Contains(answer, reason) {
			w.Errorf("%s: expected 400 and %q, got %d %s", recipe, reason, code, answer)
		}
	}
}
