package source

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/api/v1alpha1"
)

// simBackend is what the synchronizer of a history manages. It refuses stale writers.
type simBackend struct {
	*sim
	records map[types.UID]simRecord
	// buried has the generation with which a record was deleted.
	buried map[types.UID]int64
	// ever has all records that there ever were.
	ever map[types.UID]bool
	// unprotected are those that may stay although their object is gone: somebody has taken its finalizer away,
	// and the pod that knew of it has died.
	unprotected map[types.UID]bool
}

type simRecord struct {
	// generation of the object, and version of what it depends on: the order of writers.
	generation, dependency int64
	text                   string
}

// lost marks an object that nobody can clean up after any more, if it is gone.
func (b *simBackend) lost(uid types.UID) {
	for _, u := range b.api.objects {
		if u.GetUID() == uid {
			return
		}
	}
	b.unprotected[uid] = true
}

// call is a request to the backend.
func (b *simBackend) call(ctx context.Context, what string, uid types.UID, do func(*simRun) error) error {
	run := ctx.Value(simRunKey{}).(*simRun)
	_, err := b.park(ctx, false, what+" "+string(uid), func() any {
		for _, ref := range run.message.refs() {
			run.worked[ref.Name] = run.worked[ref.Name] || ref.UID == string(uid)
		}
		if err := do(run); err != nil {
			return err
		}
		return struct{}{}
	})
	if errors.Is(err, errPanic) {
		panic(err)
	}
	return err
}

func (b *simBackend) put(ctx context.Context, obj model.Object, wanted simRecord) error {
	uid := obj.GetUID()
	wanted.generation = obj.GetGeneration()
	return b.call(ctx, "PUT "+wanted.text, uid, func(*simRun) error {
		old := b.records[uid]
		if buried, ok := b.buried[uid]; ok && wanted.generation <= buried {
			return fmt.Errorf("refused: it was deleted at generation %d", buried)
		}
		if old.generation > wanted.generation || !b.enabled[coarseBackend] && old.generation == wanted.generation && old.dependency > wanted.dependency {
			return errors.New("refused: there is a newer one")
		}
		b.records[uid], b.ever[uid] = wanted, true
		return nil
	})
}

func (b *simBackend) delete(ctx context.Context, obj model.Object) error {
	uid := obj.GetUID()
	return b.call(ctx, "DELETE", uid, func(run *simRun) error {
		b.checkDeletion(obj, run)
		delete(b.records, uid)
		b.buried[uid] = max(b.buried[uid], obj.GetGeneration())
		return nil
	})
}

// checkDeletion checks that a shelf goes after its books: the run must not have seen one that names it.
func (b *simBackend) checkDeletion(obj model.Object, run *simRun) {
	shelf, ok := obj.(*v1alpha1.Shelf)
	if live := b.api.objects[simRef{"shelves", simNamespace, obj.GetName()}]; !ok || !b.ever[obj.GetUID()] || live == nil || live.GetUID() != obj.GetUID() {
		return // It was removed by force.
	}
	for _, book := range b.api.all("books") {
		if name, _, _ := unstructured.NestedString(book.Object, "spec", "shelf", "name"); name == shelf.Name && b.since(book) <= run.observed[shelf.Name] {
			b.fail("shelf %s is deleted in the backend before book %s", shelf.Name, book.GetName())
		}
	}
}

// since is the version at which an object began to name what it depends on.
func (b *simBackend) since(u *unstructured.Unstructured) int64 {
	since, _ := strconv.ParseInt(u.GetAnnotations()["moved"], 10, 64)
	return since
}

// called counts a call of Sync.
func (s *sim) called(uid types.UID) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[uid]++
	return s.calls[uid]
}

// simShelves syncs shelves. It reports where they are.
type simShelves struct{ *sim }

func (s simShelves) Sync(ctx context.Context, shelf *v1alpha1.Shelf) (string, error) {
	s.called(shelf.UID)
	shelf.Status.Observed.Room = "room of " + shelf.Spec.Label
	return "", s.backend.put(ctx, shelf, simRecord{text: shelf.Spec.Label})
}

func (s simShelves) Delete(ctx context.Context, shelf *v1alpha1.Shelf) error {
	return s.backend.delete(ctx, shelf)
}

// Titles of books that steps do something special with.
const (
	titleFails, titlePermanent, titleDeferred = "fails", "permanent", "deferred"
	titleWarns, titleUnwelcome, titleRename   = "warns", "unwelcome", "rename"
)

// simBooks syncs books.
type simBooks struct{ *sim }

func textOf(shelf *v1alpha1.Shelf, title string) string {
	if shelf == nil {
		return title
	}
	return shelf.Spec.Label + "/" + shelf.Status.Observed.Room + "/" + title
}

func (s simBooks) Sync(ctx context.Context, book *v1alpha1.Book) (string, error) {
	calls := s.called(book.UID)
	switch book.Spec.Title {
	case titleFails:
		return "", errors.New("this title always fails")
	case titlePermanent:
		return "", step.Permanent(errors.New("this title is wrong"))
	case titleDeferred:
		if calls%3 != 0 {
			return "", step.Deferred("not yet")
		}
	}
	wanted := simRecord{text: book.Spec.Title}
	if book.Spec.Shelf != nil {
		shelf, err := step.Dependency[*v1alpha1.Shelf](ctx)
		if err != nil {
			return "", err
		}
		if !s.backend.ever[shelf.UID] && !optedOut(shelf) {
			s.fail("book %s is synced before its shelf %s", book.Name, shelf.Name)
		}
		wanted.text = textOf(shelf, book.Spec.Title)
		wanted.dependency, _ = strconv.ParseInt(shelf.ResourceVersion, 10, 64)
	}
	err := s.backend.put(ctx, book, wanted)
	if err == nil && book.Spec.Title == titleWarns {
		return "", step.Warning(errors.New("not nice"))
	}
	return "", err
}

func optedOut(obj metav1.Object) bool {
	return obj.GetAnnotations()[model.AnnotationNoSync] == "true"
}

func (s simBooks) Delete(ctx context.Context, book *v1alpha1.Book) error {
	return s.backend.delete(ctx, book)
}

// simPolicy renames books, and removes those that are not welcome.
type simPolicy struct {
	*sim
	models *model.Client
}

func (p simPolicy) Create(ctx context.Context, book *v1alpha1.Book) error {
	run := ctx.Value(simRunKey{}).(*simRun)
	if at, ok := p.api.policed[book.UID]; ok && at <= run.observed[book.Name] {
		p.fail("policy: Create is called for book %s, which was policed at version %d and read at %d", book.Name, at, run.observed[book.Name])
	}
	return p.apply(ctx, book)
}

func (p simPolicy) Update(ctx context.Context, book *v1alpha1.Book) error {
	if _, ok := p.api.policed[book.UID]; !ok {
		p.fail("policy: Update is called for book %s, which was never policed", book.Name)
	}
	return p.apply(ctx, book)
}

func (p simPolicy) apply(ctx context.Context, book *v1alpha1.Book) error {
	if book.Status.Observed.Lent > 2 {
		book.Status.Observed.Condition = "worn"
	}
	books := model.For[*v1alpha1.Book](p.models)
	switch book.Spec.Title {
	case titleUnwelcome:
		return books.Delete(ctx, book)
	case titleRename:
		_, _, err := books.Modify(ctx, book.Namespace, book.Name, func(b *v1alpha1.Book) error {
			if b.UID == book.UID && b.Spec.Title == titleRename {
				b.Spec.Title = "renamed"
			}
			return nil
		})
		return err
	}
	return nil
}

// Delete gives the policy a finalizer.
func (p simPolicy) Delete(context.Context, *v1alpha1.Book) error { return nil }
