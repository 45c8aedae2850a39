package store

import (
	"encoding/json"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
)

// A tombstone remembers the generation that deleted a greeting.
type tombstone struct {
	Generation int64     `json:"generation"`
	DeletedAt  time.Time `json:"deleted_at"`
}

func (s *Store) expired(t tombstone) bool {
	return s.clock.Since(t.DeletedAt) >= s.config.TombstoneTTL
}

// A Change is what a Put did.
type Change int

// What a Put can do.
const (
	Unchanged Change = iota
	Updated
	Created
)

// Put creates the greeting or makes it what the request says. It returns a *ConflictError if the request was made from an older
// generation of the model than the greeting or its tombstone. The same generation may write again, also something else: that
// is how a synchronizer repairs what somebody changed behind its back.
func (s *Store) Put(id string, r api.PutRequest) (api.Greeting, Change, error) {
	now := s.clock.Now().UTC()
	g := api.Greeting{}
	change := Unchanged
	conflict := ""

	// Most calls of a synchronizer that makes sure, or that is late, end here without a write to the disk.
	err := s.db.View(func(tx *bbolt.Tx) (err error) {
		g, change, conflict, err = s.decide(tx, id, r, now)
		return err
	})
	if err != nil {
		return g, Unchanged, err
	}
	if conflict != "" {
		return g, Unchanged, &ConflictError{Reason: conflict}
	}
	if change == Unchanged {
		return g, Unchanged, nil
	}

	err = s.db.Batch(func(tx *bbolt.Tx) (err error) {
		// A batch can run this more than once, and others wrote since the look above: decide anew.
		g, change, conflict, err = s.decide(tx, id, r, now)
		if err != nil || conflict != "" {
			return err
		}
		// The greeting's own generation says from now on who is late. Without one the tombstone goes on doing so.
		if r.Generation != 0 {
			if err := tx.Bucket(bucketTombstones).Delete([]byte(id)); err != nil {
				return err
			}
		}
		return put(tx, bucketGreetings, []byte(id), g)
	})
	if err != nil {
		return g, Unchanged, err
	}
	if conflict != "" {
		return g, Unchanged, &ConflictError{Reason: conflict}
	}
	return g, change, nil
}

// decide what the greeting will be, without writing it.
func (s *Store) decide(tx *bbolt.Tx, id string, r api.PutRequest, now time.Time) (g api.Greeting, change Change, conflict string, err error) {
	old, err := get[api.Greeting](tx, bucketGreetings, id)
	if err != nil {
		return api.Greeting{}, Unchanged, "", err
	}
	dead, err := get[tombstone](tx, bucketTombstones, id)
	if err != nil {
		return api.Greeting{}, Unchanged, "", err
	}

	if r.Generation != 0 && dead != nil && r.Generation <= dead.Generation && !s.expired(*dead) {
		return api.Greeting{}, Unchanged, fmt.Sprintf("generation: %d is not newer than %d, with which the greeting was deleted", r.Generation, dead.Generation), nil
	}

	g = api.Greeting{
		ID: id, Name: r.Name, HelloFrom: r.HelloFrom, HelloTo: r.HelloTo,
		Message: message(r.HelloFrom, r.HelloTo), Generation: r.Generation, Model: r.Model,
		CreatedAt: now, UpdatedAt: now,
	}
	if old == nil {
		return g, Created, "", nil
	}

	if r.Generation != 0 && r.Generation < old.Generation {
		return *old, Unchanged, fmt.Sprintf("generation: %d is older than %d, which the greeting has", r.Generation, old.Generation), nil
	}
	// Generations of two models cannot be compared, so neither may overwrite the other's.
	if r.Model != nil && old.Model != nil && r.Model.UID != old.Model.UID {
		return *old, Unchanged, fmt.Sprintf("model.uid: the greeting belongs to %s/%s (%s)", old.Model.Namespace, old.Model.Name, old.Model.UID), nil
	}

	// Somebody else than a synchronizer changes what a greeting says, never whose it is: it stays protected against old writers,
	// and its synchronizer still knows it as its own when it comes to mend it.
	if r.Model == nil {
		g.Generation, g.Model = old.Generation, old.Model
	}
	g.CreatedAt, g.Requested = old.CreatedAt, old.Requested
	if g.Name == old.Name && g.Message == old.Message && g.HelloFrom == old.HelloFrom && g.HelloTo == old.HelloTo {
		g.UpdatedAt = old.UpdatedAt
		if g.Generation == old.Generation && sameModel(g.Model, old.Model) {
			return *old, Unchanged, "", nil
		}
	}
	return g, Updated, "", nil
}

func sameModel(a, b *api.ModelRef) bool {
	return a == b || a != nil && b != nil && *a == *b
}

func message(from, to string) string {
	if from == "" {
		from = "The greeter"
	}
	return from + " is saying hello to " + to
}

// Get returns ErrNotFound if there is no such greeting.
func (s *Store) Get(id string) (api.Greeting, error) {
	var g *api.Greeting
	err := s.db.View(func(tx *bbolt.Tx) (err error) {
		g, err = get[api.Greeting](tx, bucketGreetings, id)
		return err
	})
	if err != nil {
		return api.Greeting{}, err
	}
	if g == nil {
		return api.Greeting{}, ErrNotFound
	}
	return *g, nil
}

// Delete the greeting, if it is there. With a generation it leaves a tombstone, also when there was nothing to delete, because the
// write that it comes after may still be under way; and it returns a *ConflictError if the greeting was written from a
// newer generation. Generation 0 stands for somebody who knows nothing of models, and deletes whatever is there.
func (s *Store) Delete(id string, generation int64) (deleted bool, err error) {
	now := s.clock.Now().UTC()
	conflict := ""
	err = s.db.Batch(func(tx *bbolt.Tx) error {
		conflict, deleted = "", false
		old, err := get[api.Greeting](tx, bucketGreetings, id)
		if err != nil {
			return err
		}
		if old != nil && generation != 0 && generation < old.Generation {
			conflict = fmt.Sprintf("generation: %d is older than %d, which the greeting has", generation, old.Generation)
			return nil
		}
		deleted = old != nil
		if err := tx.Bucket(bucketGreetings).Delete([]byte(id)); err != nil {
			return err
		}
		if generation == 0 {
			return nil
		}

		dead, err := get[tombstone](tx, bucketTombstones, id)
		if err != nil {
			return err
		}
		if dead != nil && dead.Generation > generation {
			return nil
		}
		return put(tx, bucketTombstones, []byte(id), tombstone{Generation: generation, DeletedAt: now})
	})
	if err != nil {
		return false, err
	}
	if conflict != "" {
		return false, &ConflictError{Reason: conflict}
	}
	return deleted, nil
}

// ListOptions say which greetings to list.
type ListOptions struct {
	// After is the id that the page starts behind, "" for the first page.
	After string

	// Limit is the number of greetings at most.
	Limit int

	// Managed lists only those that belong to a model (true) or only those that do not (false). Nil lists both.
	Managed *bool
}

// List returns one page in the order of ids, and whether there are more behind it.
func (s *Store) List(o ListOptions) (items []api.Greeting, more bool, err error) {
	items = []api.Greeting{}
	err = s.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketGreetings).Cursor()
		k, v := c.Seek([]byte(o.After))
		if k != nil && string(k) == o.After {
			k, v = c.Next()
		}
		for ; k != nil; k, v = c.Next() {
			g := api.Greeting{}
			if err := json.Unmarshal(v, &g); err != nil {
				return fmt.Errorf("the store's entry %s/%s cannot be read: %w", bucketGreetings, k, err)
			}
			if o.Managed != nil && *o.Managed != (g.Model != nil) {
				continue
			}
			if more = len(items) == o.Limit; more {
				return nil
			}
			items = append(items, g)
		}
		return nil
	})
	return items, more, err
}
