package step

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"

	"k8s.io/utils/clock"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// Comparison is a pull step that compares what the micro-service has with the models of kind T. I is one
// item of what it has. The author says what an item is; the engine does the rest:
//
//   - it reads the models and the items page by page, and keeps some 200 bytes of each model;
//   - it compares an item with its model if that is settled: synced as it is now, with what it depends on
//     as that is now. If they differ, or if there is no item, it asks for another sync: the model decides;
//   - it stores what an item reports as feedback of its model;
//   - it makes a mirror of an item that is nobody's, and lets it follow the item;
//   - it removes an item whose model is gone;
//   - it counts, and an error of one item does not stop the others.
//
// Both sides can change while they are read. So a difference is only a reason to look: the model, and the
// item if there is a Get, are read again before anything is written. Nothing is missing, and nothing is
// removed, before the list has come to its end without an error. A round without a difference writes
// nothing.
//
// Items and Match are required; each of the others gives the step one more ability. They are called with
// several items at once.
type Comparison[T model.Object, I any] struct {
	// Namespace of the models. Default: $NAMESPACE, where the function is.
	Namespace string

	// Items lists all that the micro-service has. After an error the round is incomplete.
	Items func(ctx context.Context) iter.Seq2[I, error]
	// Match says whose an item is.
	Match func(item I) Match

	// Want is what the micro-service must have for an object, as a value that can be encoded as JSON; nil
	// if it need not have anything. Have is the same of an item: it is as it must be if both are the same
	// JSON. [Dependency] works with the context. How they differ is shown to people, so secrets do not
	// belong in there, but a digest of one does.
	Want func(ctx context.Context, obj T) (any, error)
	Have func(item I) any
	// Get reads the item of an object; nil if there is none. Without it an item counts as it was listed.
	Get func(ctx context.Context, obj T) (*I, error)

	// Report makes the feedback, obj.Status.Observed, like the item. It is also called with an object that
	// has nothing but its name and feedback, so the rest of the object has no part in it.
	Report func(item I, obj T)

	// Adopt makes the spec of a mirror like the item. A mirror that is to be created has no UID; Adopt can
	// set labels and annotations of that, too. After [ErrIgnore] nothing is written. A mirror is never
	// synced ([model.AnnotationNoSync]). It follows its item as long as it has that annotation.
	Adopt func(item I, mirror T) error

	// Remove removes an item whose model is gone.
	Remove func(ctx context.Context, item I) error
}

// Match says whose an item of the micro-service is. The zero Match is for items that are none of the
// step's business.
type Match struct {
	// UID of the model that the item is of, if there is such a model. If the micro-service cannot keep a
	// UID, Name is the name of the model.
	UID, Name string
	// Synced: a sync has made the item. It is removed if there is no such model.
	Synced bool
	// Mirror is what the micro-service calls the item, if that is to have a mirror when there is no such
	// model. The mirror's name is [model.MirrorName].
	Mirror string
}

// ErrIgnore is what Adopt of a [Comparison] returns for an item that is not to have a mirror, or a mirror
// that is not to change.
var ErrIgnore = errors.New("the item is ignored")

// Compare registers a comparison as a pull step.
func Compare[T model.Object, I any](c Comparison[T, I]) Registration {
	verbs, statusVerbs := []string{"get", "list", "patch"}, []string(nil)
	if c.Adopt != nil {
		verbs = append(verbs, "create")
	}
	if c.Report != nil {
		statusVerbs = []string{"patch"}
	}
	return Registration{about: aboutKind[T](statusVerbs, verbs...), compare: func(client *model.Client, now clock.PassiveClock) (Puller, error) {
		gvk, err := model.For[T](client).GVK()
		if err != nil {
			return nil, err
		}
		c := c
		c.Namespace = cmp.Or(c.Namespace, os.Getenv(envNamespace))
		for _, f := range []struct {
			field string
			unset bool
		}{
			{"Namespace", c.Namespace == ""}, {"Items", c.Items == nil}, {"Match", c.Match == nil},
			{"Want", c.Want == nil && c.Have != nil}, {"Have", c.Have == nil && c.Want != nil},
		} {
			if f.unset {
				return nil, fmt.Errorf("pull: comparison of %s: %s: expected it to be set", gvk.Kind, f.field)
			}
		}
		return &comparer[T, I]{Comparison: c, client: client, models: model.For[T](client), clock: now}, nil
	}}
}

const (
	// comparing is how many items are worked on at once. A backend that has lost its disk makes thousands
	// of models due.
	comparing = 8
	// maxOrphans is how many items are removed in a round. They are kept in memory until the list has
	// ended.
	maxOrphans = 10_000
	// keptDependencies is how many dependencies of models a round remembers.
	keptDependencies = 1000
)

type comparer[T model.Object, I any] struct {
	Comparison[T, I]
	client *model.Client
	models model.Models[T]
	clock  clock.PassiveClock
}

// Pull runs one round.
func (c *comparer[T, I]) Pull(ctx context.Context, round *Round) error {
	k, err := c.models.Kind(ctx)
	if err != nil {
		return err
	}
	r := &comparison[T, I]{comparer: c, kind: k, round: round}
	r.work.SetLimit(comparing)
	defer r.wait()
	if err := r.index(ctx); err != nil {
		return err
	}
	orphans, err := r.items(ctx)
	if err != nil {
		return err // A list that breaks off does not say what is missing.
	}
	for _, e := range r.known.all {
		if e.wants && !e.seen {
			r.record(e.name, func() (PullResult, error) { return r.repair(ctx, e, nil) })
		}
	}
	return r.remove(ctx, orphans)
}
