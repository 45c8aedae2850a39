package step

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/lru"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// index is what a round remembers of the models: as little as possible, for there can be 100,000 of them.
// One goroutine adds to it, and no other uses it at that time.
type index struct {
	// all that were there at first. Once all are read they are in the order of names.
	all []*indexed
	// later are those that came later, by name.
	later map[string]*indexed
	// byUID has those with a UID, by its digest.
	byUID map[sum]*indexed
}

// sum is a digest.
type sum [16]byte

func digest(value []byte) (s sum) {
	all := sha256.Sum256(value)
	copy(s[:], all[:])
	return s
}

// indexed is one model.
type indexed struct {
	name string
	// shows is what [comparison.shown] says.
	shows string
	// want is the digest of what the micro-service must have for it, if wants.
	want sum
	// uid is a part of its digest.
	uid uint64

	wants, deleting bool
	// unreadable: the round has counted it, and leaves it alone.
	unreadable bool
	// follows: it is a mirror that follows its item. taken: it is none.
	follows, taken bool
	// missing: there was none of this name.
	missing bool
	// seen, shown: the micro-service has listed its item, and the item that it is the mirror of.
	seen, shown bool
}

func uidOf(uid types.UID) (sum, uint64) {
	s := digest([]byte(uid))
	return s, binary.BigEndian.Uint64(s[:])
}

// is reports whether it is the object with this UID.
func (e *indexed) is(uid types.UID) bool {
	_, short := uidOf(uid)
	return e.uid == short
}

// read adds an object while the models are read.
func (x *index) read(uid types.UID, name string) *indexed {
	e := x.with(uid, name)
	x.all = append(x.all, e)
	return e
}

// add adds an object later. One that does not exist yet has no UID.
func (x *index) add(uid types.UID, name string) *indexed {
	e := x.with(uid, name)
	x.later[name] = e
	return e
}

func (x *index) with(uid types.UID, name string) *indexed {
	e := &indexed{name: strings.Clone(name)}
	if uid != "" {
		var key sum
		key, e.uid = uidOf(uid)
		x.byUID[key] = e
	}
	return e
}

func byName(e *indexed, name string) int { return strings.Compare(e.name, name) }

// ready is called when all models are read.
func (x *index) ready() {
	slices.SortFunc(x.all, func(a, b *indexed) int { return byName(a, b.name) }) // As the API mostly lists them.
	x.all = slices.Clip(x.all)
}

// find finds the object of an item.
func (x *index) find(m Match) *indexed {
	if m.UID != "" {
		return x.byUID[digest([]byte(m.UID))]
	}
	if i, ok := slices.BinarySearchFunc(x.all, m.Name, byName); ok {
		return x.all[i]
	}
	return x.later[m.Name]
}

// index reads the models, page by page. One that cannot be read is counted, and left alone.
func (r *comparison[T, I]) index(ctx context.Context) (err error) {
	r.known = index{byUID: map[sum]*indexed{}, later: map[string]*indexed{}}
	var work errgroup.Group
	work.SetLimit(comparing)
	dependencies := r.remembering()
	err = r.client.EachLive(ctx, r.kind, r.Namespace, func(u *unstructured.Unstructured) error {
		e := r.known.read(u.GetUID(), u.GetName())
		unstructured.RemoveNestedField(u.Object, "metadata", "managedFields") // They are larger than the rest.
		work.Go(func() error {
			if err := recovered(ctx, func() error { return r.remember(ctx, e, u, dependencies) }); err != nil {
				e.unreadable, e.wants = true, false
				r.round.Record(e.name, func() (PullResult, error) { return "", err })
			}
			return nil
		})
		return nil
	})
	_ = work.Wait()
	r.known.ready()
	return err
}

// remember fills in what the round remembers of an object.
func (r *comparison[T, I]) remember(ctx context.Context, e *indexed, u *unstructured.Unstructured, dependencies dependenciesOf) error {
	obj, s, err := r.read(ctx, u)
	if err != nil {
		return err
	}
	e.deleting = s.Deleting()
	e.follows = model.Mirrors(obj) && !e.deleting
	_, mirrors := obj.GetAnnotations()[model.AnnotationMirrors]
	e.taken = !mirrors
	if e.shows, err = r.shown(obj, e.follows); err != nil {
		return err
	}
	want, err := r.want(ctx, obj, s, dependencies)
	e.wants, e.want = want != nil, digest(want)
	return err
}

// read is an object as its type has it, and its snapshot. The paths of dependencies are of the oldest
// version of the kind. If the type is of another one, the object is read in both.
func (r *comparison[T, I]) read(ctx context.Context, u *unstructured.Unstructured) (T, *model.Snapshot, error) {
	obj, err := model.Typed[T](u)
	if err != nil {
		return obj, nil, err
	}
	oldest, err := r.client.Kind(ctx, r.kind.GVK.GroupKind())
	if err != nil {
		return obj, nil, err
	}
	if oldest.GVK != u.GroupVersionKind() {
		if u, err = r.client.Live(ctx, oldest, u.GetNamespace(), u.GetName()); err != nil {
			return obj, nil, err
		}
	}
	s, err := oldest.SnapshotOf(u)
	return obj, s, err
}

type dependenciesOf func(context.Context, *model.Snapshot) ([]model.Dependency, error)

// want is what the micro-service must have for an object, as JSON; nil if that is not settled: if the
// object is not synced as it is now, with what it depends on as that is now, or will be synced again.
func (r *comparison[T, I]) want(ctx context.Context, obj T, s *model.Snapshot, dependencies dependenciesOf) ([]byte, error) {
	status := s.Status.Sync
	if r.Want == nil || status == nil || status.State != model.StateOK || status.Generation != s.Generation || s.OptedOut(model.StepSync) {
		return nil, nil // Its dependencies do not matter.
	}
	all, err := dependencies(ctx, s)
	if err != nil || !model.Settled(s, model.Neighbours{Dependencies: all}, r.clock.Now()) {
		return nil, err
	}
	want, err := r.Want(context.WithValue(ctx, givenKey{}, &given{models: r.client, obj: s, dependencies: all}), obj)
	if err != nil {
		return nil, err
	}
	raw, err := encode(want)
	if err != nil || string(raw) == "null" {
		return nil, err
	}
	return raw, nil
}

// remembering reads dependencies; those that many models have in common once in a round.
func (r *comparison[T, I]) remembering() dependenciesOf {
	type key struct {
		schema.GroupKind
		name string
	}
	kept := lru.New(keptDependencies)
	return func(ctx context.Context, s *model.Snapshot) ([]model.Dependency, error) {
		all := make([]model.Dependency, len(s.Kind.DependsOn))
		for i, rule := range s.Kind.DependsOn {
			k := key{rule.GroupKind, s.Refs[i]}
			d, ok := kept.Get(k)
			if !ok {
				read, err := r.client.DependencyAt(ctx, s, i)
				if err != nil {
					return nil, err
				}
				kept.Add(k, read)
				d = read
			}
			all[i] = d.(model.Dependency)
			all[i].DependsOn = rule
		}
		return all, nil
	}
}

// maxShown is how many bytes are kept of what an object shows. Of more, only the digest is kept.
const maxShown = 256

// shown is what an item decides of its object, as JSON: the feedback, and of a mirror also the spec. If it
// is too long to be kept it is a digest, which does not begin like JSON.
func (r *comparison[T, I]) shown(obj T, mirror bool) (string, error) {
	if r.Report == nil && !mirror {
		return "", nil
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return "", err
	}
	observed, _, _ := unstructured.NestedFieldNoCopy(content, "status", "observed")
	part := observed
	if mirror {
		part = map[string]any{"spec": content["spec"], "status": map[string]any{"observed": observed}}
	}
	raw, err := json.Marshal(part)
	if len(raw) > maxShown {
		sum := digest(raw)
		return "#" + string(sum[:]), nil
	}
	return string(raw), err
}

// draft is an object with what is remembered of it. Of one that is missing it is a new mirror of the item
// with this id.
func (r *comparison[T, I]) draft(e *indexed, id string) (T, error) {
	obj := model.New[T]()
	if shows := e.shows; strings.HasPrefix(shows, "{") {
		if !e.follows {
			shows = `{"status":{"observed":` + shows + `}}`
		}
		if err := json.Unmarshal([]byte(shows), obj); err != nil {
			return obj, fmt.Errorf("what is remembered of %s: %w", e.name, err)
		}
	}
	obj.SetNamespace(r.Namespace)
	obj.SetName(e.name)
	if e.missing {
		markMirror(obj, id)
	} else {
		obj.SetUID("remembered")
	}
	return obj, nil
}
