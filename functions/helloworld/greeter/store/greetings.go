package store

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
)

// tombstone remembers the generation that deleted a greeting.
type tombstone struct {
	Generation int64     `json:"generation"`
	DeletedAt  time.Time `json:"deleted_at"`
}

func (s *Store) expired(t tombstone) bool {
	return s.clock.Since(t.DeletedAt) >= s.config.TombstoneTTL
}

// Change is what a [Store.Put] did.
type Change int

// What a Put can do.
const (
	Unchanged Change = iota
	Updated
	Created
)

// Put creates the greeting, or makes it as the request says. The error is a [*ConflictError] if the
// greeting or its tombstone has a newer generation of the model, or the same with a newer version of the
// model behind hello_from. The same generation may be written
// again, also with other texts: in this way a synchronizer repairs what somebody else has changed.
//
// If the models were restored from a backup the store is ahead of all of them. A writer that has made
// sure, after a conflict, that there is no newer model than its own, tries again with the conflict's tag.
// Then an older generation may replace what is there, if it is still what the tag names. Otherwise the
// error is [ErrChanged].
func (s *Store) Put(id string, r api.PutRequest, replaced ...string) (g api.Greeting, change Change, err error) {
	now := s.clock.Now().UTC()
	// Most calls change nothing, or are too late. They need no write to the disk.
	err = s.db.View(func(tx *bbolt.Tx) (err error) {
		g, change, err = s.decide(tx, id, r, replaced, now)
		return err
	})
	if err != nil || change == Unchanged {
		return g, Unchanged, err
	}
	err = s.db.Batch(func(tx *bbolt.Tx) (err error) {
		// Others may have written since the look above, and a batch can run this more than once.
		if g, change, err = s.decide(tx, id, r, replaced, now); err != nil {
			return err
		}
		// From now on the generation of the greeting shows which writes are too late. A greeting without
		// one still needs the tombstone for that.
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
	return g, change, nil
}

// found is what the store has of a greeting. Both are nil if there is nothing.
type found struct {
	greeting *api.Greeting
	dead     *tombstone
}

func (s *Store) find(tx *bbolt.Tx, id string) (f found, err error) {
	if f.greeting, err = get[api.Greeting](tx, bucketGreetings, id); err != nil {
		return f, err
	}
	f.dead, err = get[tombstone](tx, bucketTombstones, id)
	if f.dead != nil && s.expired(*f.dead) {
		f.dead = nil
	}
	return f, err
}

// tag is another one after every change.
func (f found) tag() (string, error) {
	raw, err := json.Marshal([]any{f.greeting, f.dead})
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:16]), err
}

// fence refuses a write of a generation that is older than what is there, unless the write names that.
func (f found) fence(older string, replaced []string) error {
	tag, err := f.tag()
	switch {
	case err != nil:
		return err
	case len(replaced) > 0 && !slices.Contains(replaced, tag):
		return ErrChanged
	case len(replaced) == 0 && older != "":
		return &ConflictError{Reason: older, Tag: tag}
	}
	return nil
}

// decide says what the greeting becomes, and does not write it.
func (s *Store) decide(tx *bbolt.Tx, id string, r api.PutRequest, replaced []string, now time.Time) (api.Greeting, Change, error) {
	there, err := s.find(tx, id)
	if err != nil {
		return api.Greeting{}, Unchanged, err
	}
	old, older := there.greeting, ""
	switch {
	case r.Generation == 0:
	case there.dead != nil && r.Generation <= there.dead.Generation:
		older = fmt.Sprintf("generation: %d is not newer than %d, with which the greeting was deleted", r.Generation, there.dead.Generation)
	case old != nil && r.Generation < old.Generation:
		older = fmt.Sprintf("generation: %d is older than %d, which the greeting has", r.Generation, old.Generation)
	case old != nil && r.Generation == old.Generation && r.From.Before(old.From):
		older = fmt.Sprintf("hello_from_version.generation: %d is older than %d, which the greeting has", r.From.Generation, old.From.Generation)
	}
	if err := there.fence(older, replaced); err != nil {
		return api.Greeting{}, Unchanged, err
	}
	g := api.Greeting{
		ID: id, Name: r.Name, HelloFrom: r.HelloFrom, HelloTo: r.HelloTo,
		Message: message(r.HelloFrom, r.HelloTo), Generation: r.Generation, Model: r.Model, From: r.From,
		CreatedAt: now, UpdatedAt: now,
	}
	if old == nil {
		return g, Created, nil
	}
	// Generations of two models cannot be compared, so neither model may write the other's greeting.
	if r.Model != nil && old.Model != nil && r.Model.UID != old.Model.UID {
		return *old, Unchanged, conflict("model.uid: the greeting belongs to %s/%s (%s)", old.Model.Namespace, old.Model.Name, old.Model.UID)
	}
	// Whoever is no synchronizer changes the texts of a greeting, but not its model: late writes of the
	// model are still refused, and its synchronizer can repair the greeting.
	if r.Model == nil {
		g.Generation, g.Model, g.From = old.Generation, old.Model, old.From
	}
	g.CreatedAt, g.Requested = old.CreatedAt, old.Requested
	if g.Name == old.Name && g.Message == old.Message && g.HelloFrom == old.HelloFrom && g.HelloTo == old.HelloTo {
		g.UpdatedAt = old.UpdatedAt
		if g.Generation == old.Generation && same(g.Model, old.Model) && same(g.From, old.From) {
			return *old, Unchanged, nil
		}
	}
	return g, Updated, nil
}

func same[T comparable](a, b *T) bool {
	return a == b || a != nil && b != nil && *a == *b
}

func message(from, to string) string {
	if from == "" {
		from = "The greeter"
	}
	return from + " is saying hello to " + to
}

// Get returns [ErrNotFound] if there is no such greeting.
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

// Delete deletes the greeting, if there is one. With a generation it leaves a tombstone, also if there
// was no greeting, because the write that comes before the deletion may arrive after it. The error is a
// [*ConflictError] if the greeting has a newer generation. Generation 0 is for callers that know
// nothing of models; it deletes whatever is there. An older generation may delete what it names with the
// tag of a conflict, as in [Store.Put].
func (s *Store) Delete(id string, generation int64, replaced ...string) (deleted bool, err error) {
	now := s.clock.Now().UTC()
	err = s.db.Batch(func(tx *bbolt.Tx) error {
		there, err := s.find(tx, id)
		if err != nil {
			return err
		}
		old, older := there.greeting, ""
		if old != nil && generation != 0 && generation < old.Generation {
			older = fmt.Sprintf("generation: %d is older than %d, which the greeting has", generation, old.Generation)
		}
		if err := there.fence(older, replaced); err != nil {
			return err
		}
		deleted = old != nil
		if err := tx.Bucket(bucketGreetings).Delete([]byte(id)); err != nil {
			return err
		}
		if generation == 0 {
			return nil
		}
		dead := tombstone{Generation: generation, DeletedAt: now}
		if old != nil {
			dead.Generation = max(dead.Generation, old.Generation)
		}
		if there.dead != nil && there.dead.Generation > dead.Generation {
			return nil
		}
		return put(tx, bucketTombstones, []byte(id), dead)
	})
	return deleted && err == nil, err
}

// ListOptions say which greetings to list.
type ListOptions struct {
	// After is the id before the first of the page. Default: the first page.
	After string

	// Limit is how many greetings a page has at most.
	Limit int

	// Managed lists only greetings that belong to a model (true), or only others (false). Default:
	// all.
	Managed *bool
}

// List returns one page in the order of ids, and whether there are more after it.
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
