package step

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// comparison is one round of a [Comparison].
type comparison[T model.Object, I any] struct {
	*comparer[T, I]
	// kind in the version of T.
	kind  *model.Kind
	round *Round
	known index
	work  errgroup.Group
}

// record does what one item needs, beside others.
func (r *comparison[T, I]) record(name string, fn func() (PullResult, error)) {
	r.work.Go(func() error { r.round.Record(name, fn); return nil })
}

// wait returns when all is done that was recorded. The round has counted the errors.
func (r *comparison[T, I]) wait() { _ = r.work.Wait() }

// items goes over what the micro-service has. It returns the items whose model is not known.
func (r *comparison[T, I]) items(ctx context.Context) (orphans []I, err error) {
	for item, err := range r.Items(ctx) {
		if err != nil {
			return nil, err
		}
		match := r.Match(item)
		e := r.known.find(match)
		switch {
		case e != nil:
			r.once(e, &e.seen, func() (PullResult, error) { return r.compare(ctx, e, item) })
		case match.Synced && len(orphans) < maxOrphans:
			orphans = append(orphans, item)
		case match.Synced || match.Mirror == "" || r.Adopt == nil:
		default:
			name := model.MirrorName(match.Mirror)
			if e = r.known.find(Match{Name: name}); e == nil {
				e = r.known.add("", name)
				e.missing = true
			}
			r.once(e, &e.shown, func() (PullResult, error) { return r.mirror(ctx, e, match.Mirror, item) })
		}
	}
	return orphans, ctx.Err()
}

// once records an item of an object, unless there is another one. What could not be read is counted
// already.
func (r *comparison[T, I]) once(e *indexed, already *bool, fn func() (PullResult, error)) {
	switch {
	case e.unreadable:
		return
	case *already:
		fn = func() (PullResult, error) {
			return "", fmt.Errorf("the micro-service has two items of it, expected one")
		}
	}
	*already = true
	r.record(e.name, fn)
}

// compare compares an item with its model. What the item reports is stored before a sync is asked for, which
// may use it.
func (r *comparison[T, I]) compare(ctx context.Context, e *indexed, item I) (PullResult, error) {
	result := PullUnchanged
	if !e.deleting {
		var err error
		if result, err = r.report(ctx, e, item, result); err != nil {
			return "", err
		}
	}
	if !e.wants {
		return result, nil
	}
	have, err := encode(r.Have(item))
	if err != nil || digest(have) == e.want {
		return result, err
	}
	repaired, err := r.repair(ctx, e, &item)
	if err != nil || repaired != PullUnchanged {
		return repaired, err
	}
	return result, nil
}

// repair asks for a sync of an object whose item is missing or different, if that is still so.
func (r *comparison[T, I]) repair(ctx context.Context, e *indexed, item *I) (PullResult, error) {
	u, err := r.client.Live(ctx, r.kind, r.Namespace, e.name)
	if model.IsGone(err) || err == nil && !e.is(u.GetUID()) {
		return PullUnchanged, nil
	} else if err != nil {
		return "", err
	}
	obj, s, err := r.read(ctx, u)
	if err != nil {
		return "", err
	}
	want, err := r.want(ctx, obj, s, r.client.Dependencies)
	if err != nil || want == nil {
		return PullUnchanged, err
	}
	if r.Get != nil {
		if item, err = r.Get(ctx, obj); err != nil {
			return "", err
		}
	} else if digest(want) != e.want {
		return PullUnchanged, nil // It was synced after the round has read it, maybe also after the item was listed.
	}
	reason := "the micro-service does not have it"
	if item != nil {
		have, err := encode(r.Have(*item))
		if err != nil || bytes.Equal(want, have) {
			return PullUnchanged, err
		}
		reason = difference(want, have)
	}
	model.Request(obj, r.clock.Now(), "pull: "+reason)
	if _, _, err = r.models.Update(ctx, obj); apierrors.IsConflict(err) || model.IsGone(err) {
		return PullUnchanged, nil // Somebody has just changed it; the next round looks again.
	} else if err != nil {
		return "", err
	}
	Event(ctx, obj, "Drifted", "%s: it is synced again", reason)
	logging.FromContext(ctx).Infow("Drift", "name", e.name, "reason", reason)
	return PullDrifted, nil
}

// mirror makes the mirror of an item, or lets it follow the item.
func (r *comparison[T, I]) mirror(ctx context.Context, e *indexed, id string, item I) (PullResult, error) {
	switch {
	case e.taken:
		return "", r.taken(e, id)
	case !e.missing && !e.follows:
		return PullUnchanged, nil
	}
	obj, err := r.draft(e, id)
	if err == nil {
		err = r.Adopt(item, obj)
	}
	if errors.Is(err, ErrIgnore) {
		logging.FromContext(ctx).Infow("Ignored: the step does not want it", "item", id)
		return PullUnchanged, nil
	} else if err != nil {
		return "", err
	}
	now, err := r.shown(obj, true)
	if err != nil {
		return "", err
	}
	result := PullUnchanged
	if e.missing || now != e.shows {
		if result, err = r.adopt(ctx, e, id, item); err != nil || result == pullIgnored {
			return PullUnchanged, err
		}
	}
	return r.report(ctx, e, item, result)
}

// pullIgnored: nothing more is to be done about an item.
const pullIgnored PullResult = "ignored"

// adopt writes the mirror of an item.
func (r *comparison[T, I]) adopt(ctx context.Context, e *indexed, id string, item I) (PullResult, error) {
	obj, op, err := r.models.CreateOrModify(ctx, r.Namespace, e.name, func(obj T) error {
		switch {
		case obj.GetUID() == "":
			markMirror(obj, id)
		case obj.GetAnnotations()[model.AnnotationMirrors] != id:
			return r.taken(e, id)
		case !model.Mirrors(obj) || !obj.GetDeletionTimestamp().IsZero():
			return ErrIgnore
		}
		return r.Adopt(item, obj)
	})
	switch {
	case errors.Is(err, ErrIgnore):
		return pullIgnored, nil
	case err != nil:
		return "", err
	case op == model.Updated:
		return PullUpdated, nil
	case op == model.Created:
		Event(ctx, obj, "Adopted", "made of what the micro-service calls %s", id)
		logging.FromContext(ctx).Infow("Adopted", "name", e.name, "item", id)
		return PullCreated, nil
	}
	return PullUnchanged, nil
}

func (r *comparison[T, I]) taken(e *indexed, id string) error {
	return fmt.Errorf("%s %s/%s has the name of the mirror of item %q: expected it to have that in annotation %s",
		r.kind.GVK.Kind, r.Namespace, e.name, id, model.AnnotationMirrors)
}

// markMirror makes a new object a mirror.
func markMirror(obj model.Object, id string) {
	obj.SetAnnotations(map[string]string{model.AnnotationNoSync: "true", model.AnnotationMirrors: id})
}

// report stores what an item reports of its object.
func (r *comparison[T, I]) report(ctx context.Context, e *indexed, item I, result PullResult) (PullResult, error) {
	if r.Report == nil {
		return result, nil
	}
	// Whether it says anything new is mostly known without reading the object.
	obj, err := r.draft(e, "")
	if err != nil {
		return "", err
	}
	r.Report(item, obj)
	if now, err := r.shown(obj, e.follows); err != nil || !e.missing && now == e.shows {
		return result, err
	}
	_, op, err := r.models.Observe(ctx, r.Namespace, e.name, func(obj T) error {
		if !e.missing && !e.is(obj.GetUID()) {
			return ErrIgnore // It was created again, and has another item.
		}
		r.Report(item, obj)
		return nil
	})
	switch {
	case errors.Is(err, ErrIgnore) || model.IsGone(err):
	case err != nil:
		return "", err
	case op == model.Updated && result == PullUnchanged:
		return PullReported, nil
	}
	return result, nil
}

// remove removes items whose model is gone. A model that was created after the models were read is not.
func (r *comparison[T, I]) remove(ctx context.Context, orphans []I) error {
	if r.Remove == nil || len(orphans) == 0 {
		return nil
	}
	r.wait()
	err := r.client.EachLive(ctx, r.kind, r.Namespace, func(u *unstructured.Unstructured) error {
		if r.known.find(Match{UID: string(u.GetUID())}) == nil {
			r.known.add(u.GetUID(), u.GetName())
		}
		return nil
	})
	if err != nil {
		return err
	}
	log := logging.FromContext(ctx)
	if len(orphans) == maxOrphans {
		log.Infow("More items may have to be removed: the next round goes on", "items", len(orphans))
	}
	for _, item := range orphans {
		match := r.Match(item)
		name := cmp.Or(match.UID, match.Name)
		r.record(name, func() (PullResult, error) {
			if r.known.find(match) != nil {
				return PullUnchanged, nil
			}
			if err := r.Remove(ctx, item); err != nil {
				return "", err
			}
			log.Infow("Removed: its model is gone", "model", name)
			return PullOrphaned, nil
		})
	}
	return nil
}

// difference says in words how what the micro-service has differs from what it must have, both as JSON.
func difference(want, have []byte) string {
	var fields [2]map[string]json.RawMessage
	for i, raw := range [][]byte{want, have} {
		if err := json.Unmarshal(raw, &fields[i]); err != nil {
			fields[i] = nil // It is no object.
		}
	}
	all := map[string]json.RawMessage{}
	maps.Copy(all, fields[0])
	maps.Copy(all, fields[1])
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if w, h := fields[0][name], fields[1][name]; !bytes.Equal(w, h) {
			return fmt.Sprintf("%s is %s, expected %s", name, text(h), text(w))
		}
	}
	return fmt.Sprintf("it is %s, expected %s", text(have), text(want))
}

// encode is a value as JSON that people can read.
func encode(value any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(value)
	return bytes.TrimSpace(b.Bytes()), err
}

func text(raw []byte) string { return cmp.Or(cut(string(raw), 100), "not set") }
