package model

import (
	"context"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// Feedback is what a step reports of the backend in status.observed of an object, as the difference to
// what was there (a JSON merge patch): so two steps that report different fields do not disturb each
// other. If both report the same field, the later one counts; lists are reported as a whole.
type Feedback map[string]any

// observedOf is the feedback that the object has, nil if it has none.
func observedOf(u *unstructured.Unstructured) map[string]any {
	observed, _, _ := unstructured.NestedFieldNoCopy(u.Object, "status", "observed")
	fields, _ := observed.(map[string]any)
	return fields
}

// FeedbackIn is what is different in status.observed between the object u and t, which was made of u
// with [Typed] and then changed.
func FeedbackIn[T Object](u *unstructured.Unstructured, t T) (Feedback, error) {
	before, err := Typed[T](u)
	if err != nil {
		return nil, err
	}
	var observed [2]map[string]any
	for i, obj := range []T{before, t} {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
		if err != nil {
			return nil, err
		}
		observed[i] = observedOf(&unstructured.Unstructured{Object: content})
	}
	return difference(observed[0], observed[1]), nil
}

// Add adds later feedback.
func (f Feedback) Add(later Feedback) {
	for field, value := range later {
		there, isMap := f[field].(map[string]any)
		if inner, both := value.(map[string]any); isMap && both {
			Feedback(there).Add(inner)
			continue
		}
		f[field] = value
	}
}

// Onto puts the feedback into a copy of the object.
func (f Feedback) Onto(u *unstructured.Unstructured) *unstructured.Unstructured {
	if len(f) == 0 {
		return u
	}
	u = u.DeepCopy()
	observed := observedOf(u)
	if observed == nil {
		observed = map[string]any{}
	}
	merge(observed, runtime.DeepCopyJSON(f))
	status, ok := u.Object["status"].(map[string]any)
	if !ok {
		status = map[string]any{}
		u.Object["status"] = status
	}
	status["observed"] = observed
	return u
}

// observe returns the operations that store the feedback, none if the object has it already. The
// object has a status.
func observe(u *unstructured.Unstructured, revision int64, f Feedback) []operation {
	before, after := observedOf(u), observedOf(f.Onto(u))
	if equality.Semantic.DeepEqual(before, after) {
		return nil
	}
	// The test is for what is there, or for nothing.
	var there any
	if before != nil {
		there = before
	}
	return []operation{test("/status/observed", there), add("/status/observed", after), add("/status/observedRevision", revision+1)}
}

// Observe lets change edit the feedback of an object, in its field Status.Observed, and stores what is
// different then. If nothing is, it writes nothing. It is for pull and event steps: a sync step or a
// policy changes Status.Observed of the object that it was called with.
//
// The object's policies become due, and nothing else does. What change does to the rest of the object is
// ignored. If somebody else reports about the object in between, change is called again with the newest
// one. If there is no such object the error is NotFound.
func (m Models[T]) Observe(ctx context.Context, namespace, name string, change func(T) error) (T, Operation, error) {
	var none T
	k, err := m.Kind(ctx)
	if err != nil {
		return none, "", err
	}
	wrap := func(err error) (T, Operation, error) {
		return none, "", fmt.Errorf("storing status.observed of %s %s/%s: %w", k.GVK.Kind, namespace, name, m.client.explain(ctx, k, err))
	}
	u, err := m.client.Live(ctx, k, namespace, name)
	if err != nil {
		return none, "", err
	}
	u, reported, err := m.report(ctx, k, u, func(_ *Snapshot, t T) error { return change(t) }, nil)
	if err != nil {
		return wrap(err)
	}
	op := Unchanged
	if reported {
		op = Updated
	}
	t, err := Typed[T](u)
	return t, op, err
}

// report is [Models.Observe] for an object that was read. Also returned by it are the object as it is then, and
// whether its feedback is another one. More returns more operations, given the status and whether the
// feedback changes.
func (m Models[T]) report(ctx context.Context, k *Kind, u *unstructured.Unstructured, change func(*Snapshot, T) error,
	more func(*Snapshot, bool) ([]operation, error)) (*unstructured.Unstructured, bool, error) {
	before := u
	reported := false
	u, err := m.client.buildAndPatch(ctx, k, u, func(u *unstructured.Unstructured) ([]operation, error) {
		before, reported = u, false
		s, err := k.SnapshotOf(u)
		if err != nil {
			return nil, err
		}
		t, err := Typed[T](u)
		if err != nil {
			return nil, err
		}
		if err := change(s, t); err != nil {
			return nil, err
		}
		feedback, err := FeedbackIn(u, t)
		if err != nil {
			return nil, err
		}
		operations := observe(u, s.Status.ObservedRevision, feedback)
		reported = len(operations) > 0
		if more != nil {
			also, err := more(s, reported)
			if err != nil {
				return nil, err
			}
			operations = append(operations, also...)
		}
		if _, ok := u.Object["status"].(map[string]any); !ok && len(operations) > 0 {
			operations = append([]operation{test("/status", u.Object["status"]), add("/status", map[string]any{})}, operations...)
		}
		return operations, nil
	}, "status")
	if err == nil && u != before {
		ownIn(ctx).wrote(before, u)
	}
	return u, reported, err
}

// Own follows what a step writes while it runs, so that the engine knows which version of the step's
// own object is the step's work, and not somebody else's.
type Own struct {
	uid types.UID

	// mu protects following.
	mu                   sync.Mutex
	generation, revision int64
	newest               *unstructured.Unstructured
	any, deleted         bool
}

type ownKey struct{}

// WithOwn returns a context for a step that is called with the object u. All writes through a client
// with this context are followed.
func WithOwn(ctx context.Context, s *Snapshot, u *unstructured.Unstructured) (context.Context, *Own) {
	own := &Own{uid: s.UID, generation: s.Generation, revision: s.Status.ObservedRevision, newest: u}
	return context.WithValue(ctx, ownKey{}, own), own
}

func ownIn(ctx context.Context) *Own {
	own, _ := ctx.Value(ownKey{}).(*Own)
	return own
}

// wrote is called after each write. Both are nil for a deletion, before is for a new object.
func (o *Own) wrote(before, after *unstructured.Unstructured) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.any = true
	if before == nil || after == nil || after.GetUID() != o.uid {
		return
	}
	// Only what is based on the version that the step knows is its own. After a change by somebody else
	// in between the step has to run again.
	if before.GetGeneration() == o.generation {
		o.generation = after.GetGeneration()
	}
	if revisionOf(before) == o.revision {
		o.revision = revisionOf(after)
	}
	o.newest = after
}

// removed is called after an object was deleted.
func (o *Own) removed(uid types.UID) {
	o.wrote(nil, nil)
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.deleted = o.deleted || uid == o.uid
}

// Deleted reports whether the step has deleted its own object.
func (o *Own) Deleted() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.deleted
}

// NewestOwn returns the object u as the step that was called with the context has written it last, and u
// if it has not written it in the version of u.
func NewestOwn(ctx context.Context, u *unstructured.Unstructured) *unstructured.Unstructured {
	own := ownIn(ctx)
	if own == nil {
		return u
	}
	if _, _, newest, _ := own.Seen(); newest.GroupVersionKind() == u.GroupVersionKind() {
		return newest
	}
	return u
}

func revisionOf(u *unstructured.Unstructured) int64 {
	revision, _, _ := unstructured.NestedInt64(u.Object, "status", "observedRevision")
	return revision
}

// Seen returns the generation and the revision of the feedback that the step has seen or made itself,
// the newest object that it has written, and whether it has written any object at all.
func (o *Own) Seen() (generation, revision int64, newest *unstructured.Unstructured, wrote bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.generation, o.revision, o.newest, o.any
}
