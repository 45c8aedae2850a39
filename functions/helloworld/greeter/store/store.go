// Package store keeps the greeter's greetings, the tombstones of deleted ones, and the outbox in one
// bbolt file, so that a greeting and its event are written together or not at all.
package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"k8s.io/utils/clock"
	"knative.dev/pkg/logging"
)

var (
	// ErrNotFound is returned for a greeting that is not there.
	ErrNotFound = errors.New("no such greeting")

	// ErrChanged is returned for a write that names what it replaces if something else is there by now.
	ErrChanged = errors.New("it was changed since the refusal that the tag is from")

	// ErrOutboxFull is returned for a greeting that is to be published if too many wait already.
	ErrOutboxFull = errors.New("too many greetings wait to be published")
)

// ConflictError refuses a write that is older than what the store has. To try again is of no use, but
// for who knows that the store is ahead of the newest model: see [Store.Put].
type ConflictError struct {
	Reason string

	// Tag names what the store has. It is empty if nobody may replace that.
	Tag string
}

func conflict(format string, args ...any) error {
	return &ConflictError{Reason: fmt.Sprintf(format, args...)}
}

func (e *ConflictError) Error() string { return e.Reason }

// Config of a [Store], read from the environment by envconfig.
type Config struct {
	// DataDir is the folder of the store, created if it is not there. It must outlive the process.
	DataDir string `envconfig:"DATA_DIR" default:"/data" required:"true"`

	// LockTimeout is how long to wait for another process that has the store open, e.g. the one that
	// this one replaces.
	LockTimeout time.Duration `envconfig:"STORE_LOCK_TIMEOUT" default:"10s"`

	// TombstoneTTL is how long the generation of a deleted greeting is kept, to refuse writes that were
	// sent before the deletion and arrive after it. No event or request may be under way for longer.
	TombstoneTTL time.Duration `envconfig:"TOMBSTONE_TTL" default:"24h"`

	// OutboxLimit is how many greetings may wait to be published. More are refused (503), so that the
	// disk does not fill: what was accepted is never dropped.
	OutboxLimit int `envconfig:"OUTBOX_LIMIT" default:"100000"`

	// NoSync does not wait for the disk: a crash of the machine can lose writes. For tests.
	NoSync bool `ignored:"true"`

	// Clock of the store. Default: the real one.
	Clock clock.PassiveClock `ignored:"true"`
}

func (c Config) validate() error {
	var errs []error
	if c.DataDir == "" {
		errs = append(errs, errors.New("DATA_DIR: required, expected a folder that the greeter may write to"))
	}
	// With 0 bbolt waits forever, as if the greeter hung.
	if c.LockTimeout <= 0 {
		errs = append(errs, fmt.Errorf("STORE_LOCK_TIMEOUT: expected more than 0, got %s", c.LockTimeout))
	}
	if c.TombstoneTTL <= 0 {
		errs = append(errs, fmt.Errorf("TOMBSTONE_TTL: expected more than 0, got %s", c.TombstoneTTL))
	}
	if c.OutboxLimit <= 0 {
		errs = append(errs, fmt.Errorf("OUTBOX_LIMIT: expected more than 0, got %d", c.OutboxLimit))
	}
	return errors.Join(errs...)
}

// The buckets. Greetings and tombstones have the id as key, the outbox has the sequence number. The
// order has a key of line and sequence number for each entry, so that the head of a line is one seek
// away.
var (
	bucketGreetings   = []byte("greetings")
	bucketTombstones  = []byte("tombstones")
	bucketOutbox      = []byte("outbox")
	bucketOutboxOrder = []byte("outbox-order")
)

// fileName is the name of the store in its folder.
const fileName = "greeter.db"

// Store of greetings. It is safe for concurrent use, by one process at a time.
type Store struct {
	db      *bbolt.DB
	config  Config
	clock   clock.PassiveClock
	pending atomic.Int64
}

// Open opens the store. If another process has it open, it waits for Config.LockTimeout.
func Open(c Config) (*Store, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("DATA_DIR: cannot make the folder: %w", err)
	}

	path := filepath.Join(c.DataDir, fileName)
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:      c.LockTimeout,
		NoSync:       c.NoSync,
		FreelistType: bbolt.FreelistMapType,
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("DATA_DIR: another process has %s open and did not let go within %s: only one greeter at a time can run on a store", path, c.LockTimeout)
	}
	if err != nil {
		return nil, fmt.Errorf("DATA_DIR: cannot open %s: %w", path, err)
	}

	// Concurrent writers share one sync of the disk. A single writer should not wait long for others.
	db.MaxBatchDelay = 500 * time.Microsecond

	s := &Store{db: db, config: c, clock: c.Clock}
	if err := db.Update(s.prepare); err != nil {
		return nil, errors.Join(fmt.Errorf("DATA_DIR: cannot prepare %s: %w", path, err), db.Close())
	}
	return s, nil
}

func (s *Store) prepare(tx *bbolt.Tx) error {
	for _, name := range [][]byte{bucketGreetings, bucketTombstones, bucketOutbox, bucketOutboxOrder} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	s.pending.Store(int64(tx.Bucket(bucketOutbox).Stats().KeyN))
	return nil
}

// Close waits for the calls under way and closes the store. Writes are safe without it too.
func (s *Store) Close() error { return s.db.Close() }

// sweepEvery is how often expired tombstones are removed. Reads ignore them before that.
const sweepEvery = time.Hour

// SweepTombstones removes expired tombstones, now and every hour until ctx is done.
func (s *Store) SweepTombstones(ctx context.Context) {
	for {
		n, err := s.sweep()
		if err != nil {
			logging.FromContext(ctx).Warnw("Cannot remove expired tombstones, trying again later", "error", err)
		}
		if n > 0 {
			logging.FromContext(ctx).Infow("Removed expired tombstones", "count", n)
		}

		select {
		case <-ctx.Done():
			return
		case <-time.After(sweepEvery):
		}
	}
}

// sweepBatch is how many tombstones are removed at once, so that other writers do not wait long.
const sweepBatch = 1000

func (s *Store) sweep() (int, error) {
	total := 0
	for {
		ids, err := s.expiredTombstones()
		if err != nil || len(ids) == 0 {
			return total, err
		}
		removed, err := s.removeTombstones(ids)
		total += removed
		if err != nil {
			return total, err
		}
	}
}

// expiredTombstones finds the ids of a batch.
func (s *Store) expiredTombstones() (ids []string, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketTombstones).Cursor()
		for k, v := c.First(); k != nil && len(ids) < sweepBatch; k, v = c.Next() {
			t := tombstone{}
			if err := json.Unmarshal(v, &t); err != nil {
				return fmt.Errorf("tombstone of %s: %w", k, err)
			}
			if s.expired(t) {
				ids = append(ids, string(k))
			}
		}
		return nil
	})
	return ids, err
}

// removeTombstones removes those that have not been renewed since they were found.
func (s *Store) removeTombstones(ids []string) (removed int, err error) {
	err = s.db.Update(func(tx *bbolt.Tx) error {
		for _, id := range ids {
			t, err := get[tombstone](tx, bucketTombstones, id)
			if err != nil {
				return err
			}
			if t == nil || !s.expired(*t) {
				continue
			}
			if err := tx.Bucket(bucketTombstones).Delete([]byte(id)); err != nil {
				return err
			}
			removed++
		}
		return nil
	})
	return removed, err
}

// get returns nil if there is no such key.
func get[T any](tx *bbolt.Tx, bucket []byte, key string) (*T, error) {
	raw := tx.Bucket(bucket).Get([]byte(key))
	if raw == nil {
		return nil, nil
	}
	v := new(T)
	if err := json.Unmarshal(raw, v); err != nil {
		return nil, fmt.Errorf("the store's entry %s/%s cannot be read: %w", bucket, key, err)
	}
	return v, nil
}

func put(tx *bbolt.Tx, bucket, key []byte, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return tx.Bucket(bucket).Put(key, raw)
}
