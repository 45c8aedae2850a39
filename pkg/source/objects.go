package source

import (
	"cmp"
	"context"
	"iter"
	"slices"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// seen is what the source knows of the models: a record of each object, and what depends on what.
type seen struct {
	kinds map[schema.GroupKind]*watchedKind
	// complete: kinds holds all that there are.
	complete bool
	// dirty takes the keys that have to be evaluated, because of what was seen.
	dirty func(key)
}

// watchedKind is a kind whose objects the source watches.
type watchedKind struct {
	*model.Kind
	stop context.CancelFunc

	// Source.mu protects following.

	// records are what is known of the objects, by namespace/name.
	records map[string]*record
	// synced: records has all that there are.
	synced bool
	// before is what was kept by the definition before this one, until the objects are known by this one.
	before *watchedKind
	// err says that the source may not list the objects, nil if it may. Those around them are not held back
	// for that: a function may read what the source may not, and it reads again before it acts.
	err error
	// heads are the first of the objects that depend on the same, for each of DependsOn.
	heads []map[string]*record
	// present counts the objects of each namespace that are not being deleted.
	present map[string]int
}

func newWatchedKind(k *model.Kind, stop context.CancelFunc) *watchedKind {
	w := &watchedKind{Kind: k, stop: stop, records: map[string]*record{}, present: map[string]int{}}
	for range k.DependsOn {
		w.heads = append(w.heads, map[string]*record{})
	}
	return w
}

// keep stores what is known of an object now, and returns what was known before, nil if that was nothing.
func (w *watchedKind) keep(now *record) (before *record) {
	before = w.drop(now.key)
	old := before
	if old == nil && w.before != nil {
		old = w.before.records[now.key]
	}
	if old != nil && old.same(now) {
		for i := range now.steps {
			now.steps[i].attempts = old.steps[i].attempts
		}
	}
	w.records[now.key] = now
	for i := range now.links {
		now.link(i, w.heads[i])
	}
	if !now.deleting() {
		w.present[now.names().Namespace]++
	}
	return before
}

// drop forgets an object, and returns what was known of it, nil if that was nothing.
func (w *watchedKind) drop(key string) *record {
	r := w.records[key]
	if r == nil {
		return nil
	}
	delete(w.records, key)
	for i := range r.links {
		r.unlink(i, w.heads[i])
	}
	if namespace := r.names().Namespace; !r.deleting() {
		if w.present[namespace]--; w.present[namespace] == 0 {
			delete(w.present, namespace)
		}
	}
	return r
}

// link puts the record into the list of those that depend on the same.
func (r *record) link(i int, heads map[string]*record) {
	l := &r.links[i]
	if head := heads[l.on]; head != nil {
		l.next, head.links[i].prev = head, r
		l.on = head.links[i].on // One text for all.
	}
	heads[l.on] = r
}

// unlink takes the record out of its list. It takes the same time however long that is.
func (r *record) unlink(i int, heads map[string]*record) {
	l := &r.links[i]
	if l.next != nil {
		l.next.links[i].prev = l.prev
	}
	switch {
	case l.prev != nil:
		l.prev.links[i].next = l.next
	case l.next != nil:
		heads[l.on] = l.next
	default:
		delete(heads, l.on)
	}
	l.prev, l.next = nil, nil
}

// dependents are the objects that depend on an object of a kind, which is given as namespace/name; without a name,
// those that name none.
func (w *watchedKind) dependents(gk schema.GroupKind, on string) iter.Seq[*record] {
	return func(yield func(*record) bool) {
		for i, d := range w.DependsOn {
			if d.GroupKind != gk {
				continue
			}
			for r := w.heads[i][on]; r != nil; r = r.links[i].next {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// known reports whether there is nothing more to wait for before what depends on the objects is evaluated.
func (w *watchedKind) known() bool { return w.synced || w.err != nil }

func (w *watchedKind) dependsOn(k *model.Kind) bool {
	return slices.ContainsFunc(w.DependsOn, func(d model.DependsOn) bool { return d.GroupKind == k.GVK.GroupKind() })
}

// read makes a record of an object of the API.
func (w *watchedKind) read(ctx context.Context, u *unstructured.Unstructured) *record {
	o, err := w.SnapshotOf(u)
	if err == nil {
		return w.record(o)
	}
	// No API server sends that. It must not stop the watch of all others.
	logging.FromContext(ctx).Errorw("An object cannot be read; its steps are held back", zap.Error(err))
	return w.record(&model.Snapshot{Kind: w.Kind, Refs: make([]string, len(w.DependsOn)), ObjectMeta: metav1.ObjectMeta{
		Namespace: u.GetNamespace(), Name: u.GetName(), UID: u.GetUID(), Annotations: map[string]string{model.AnnotationPaused: "true"},
	}})
}

// changed has an object evaluated that was added (before is nil), changed or removed (now is nil),
// and those whose steps look at it.
func (s *seen) changed(w *watchedKind, before, now *record) {
	r := cmp.Or(now, before)
	if r == nil {
		return
	}
	s.enqueue(w, r)
	namespace := r.names().Namespace
	for _, other := range s.kinds {
		// Those that name it, and those that name none and may get it.
		for _, on := range []string{r.key, namespace + "/"} {
			for dependent := range other.dependents(w.GVK.GroupKind(), on) {
				for _, step := range other.Steps {
					s.dirty(other.keyOf(dependent, step))
				}
			}
		}
	}
	if before == nil || now != nil && slices.EqualFunc(before.links, now.links, func(a, b link) bool { return a.on == b.on }) {
		return
	}
	// An object that is being deleted waits for its dependents.
	for i, d := range w.DependsOn {
		if other := s.kinds[d.GroupKind]; other != nil {
			if owner := other.records[before.links[i].on]; owner != nil && owner.deleting() {
				s.enqueue(other, owner)
			}
		}
	}
}

// enqueue has all steps of the object evaluated; of a kind without steps, those that it may have had.
func (s *seen) enqueue(w *watchedKind, r *record) {
	of := w.Steps
	if len(of) == 0 {
		of = steps
	}
	for _, step := range of {
		s.dirty(w.keyOf(r, step))
	}
}

func (w *watchedKind) keyOf(r *record, step model.Step) key {
	return key{w.GVK.GroupKind(), r.names(), step}
}

// look finds what the tracker decides by. It is false while something that matters is not known yet.
func (s *seen) look(k key) (o *model.Snapshot, n model.Neighbours, known bool) {
	if w := s.kinds[k.groupKind]; !s.complete || w != nil && !w.synced {
		return nil, n, false // Evaluated again when all objects are known.
	}
	if o = s.object(k.groupKind, k.Namespace, k.Name); o == nil {
		return nil, n, true
	}
	n, known = s.neighbours(o)
	return o, n, known
}

// kept is what is kept of a step of an object, nil if there is no such object.
func (s *seen) kept(k key) *kept {
	w := s.kinds[k.groupKind]
	if w == nil {
		return nil
	}
	r := w.records[k.Namespace+"/"+k.Name]
	if r == nil {
		return nil
	}
	return &r.steps[slices.Index(steps, k.step)]
}

// object makes a snapshot of an object, nil if there is none.
func (s *seen) object(gk schema.GroupKind, namespace, name string) *model.Snapshot {
	w := s.kinds[gk]
	if w == nil {
		return nil
	}
	r := w.records[namespace+"/"+name]
	if r == nil {
		return nil
	}
	return w.snapshot(r)
}

// neighbours is what model.Client.Neighbours reads from the API, from memory. It is false while
// something that matters is not known yet.
func (s *seen) neighbours(o *model.Snapshot) (n model.Neighbours, known bool) {
	if o.Deleting() {
		n.Dependents, known = s.dependents(o)
		return n, known
	}
	for i, rule := range o.Kind.DependsOn {
		d := model.Dependency{DependsOn: rule, Name: o.Refs[i]}
		if w := s.kinds[rule.GroupKind]; w != nil && !w.Retired {
			if !w.known() {
				return n, false
			}
			d.Object = s.object(rule.GroupKind, o.Namespace, o.Refs[i])
			if d.Name == "" {
				d.Candidates = w.present[o.Namespace]
			}
		}
		n.Dependencies = append(n.Dependencies, d)
	}
	return n, true
}

// dependents finds one object of each kind that depends on the given one: that tells model.Due as
// much as all of them.
func (s *seen) dependents(o *model.Snapshot) (found []model.Dependent, known bool) {
	for _, w := range s.kinds {
		if !w.dependsOn(o.Kind) {
			continue
		}
		if !w.known() {
			return nil, false
		}
		for dependent := range w.dependents(o.Kind.GVK.GroupKind(), o.Namespace+"/"+o.Name) {
			found = append(found, model.Dependent{Kind: w.GVK.Kind, Name: dependent.names().Name, Object: s.object(w.GVK.GroupKind(), o.Namespace, dependent.names().Name)})
			break
		}
	}
	return found, true
}
