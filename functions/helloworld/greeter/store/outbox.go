package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"

	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
)

// Line names the outbox entries that must leave in the order in which they came: those of one name,
// because the receiver knows a greeting by its name. It is a digest of the name, so that all lines have
// the same length.
type Line [sha256.Size]byte

// Entry of the outbox is an event that the sink has not accepted yet.
type Entry struct {
	// Seq is a number that no other entry of the store ever has.
	Seq uint64 `json:"-"`

	// GreetingID is the id of the greeting that the event is about.
	GreetingID string `json:"greeting_id"`

	// Request is the event's data.
	Request api.Request `json:"request"`

	// AcceptedAt is when the user asked for the greeting, in UTC.
	AcceptedAt time.Time `json:"accepted_at"`
}

// Line of the entry.
func (e Entry) Line() Line { return sha256.Sum256([]byte(e.Request.Name)) }

// Accept stores a greeting that a user of the greeter asks for, and its entry in the outbox: both or
// none. It returns [ErrOutboxFull] if too many entries wait.
func (s *Store) Accept(r api.Request) (api.Greeting, Entry, error) {
	if s.pending.Load() >= int64(s.config.OutboxLimit) {
		return api.Greeting{}, Entry{}, fmt.Errorf("%w: expected less than %d", ErrOutboxFull, s.config.OutboxLimit)
	}

	now := s.clock.Now().UTC()
	g := api.Greeting{
		ID: uuid.NewString(), Name: r.Name, HelloTo: r.HelloTo, Message: message("", r.HelloTo),
		Requested: true, CreatedAt: now, UpdatedAt: now,
	}
	e := Entry{GreetingID: g.ID, Request: r, AcceptedAt: now}
	err := s.db.Batch(func(tx *bbolt.Tx) error {
		seq, err := tx.Bucket(bucketOutbox).NextSequence()
		if err != nil {
			return err
		}
		e.Seq = seq
		line := e.Line()
		return errors.Join(
			put(tx, bucketGreetings, []byte(g.ID), g),
			put(tx, bucketOutbox, seqKey(seq), e),
			tx.Bucket(bucketOutboxOrder).Put(orderKey(line, seq), nil))
	})
	if err != nil {
		return api.Greeting{}, Entry{}, err
	}
	s.pending.Add(1)
	return g, e, nil
}

// Head returns the first entry of a line, nil if the line is empty.
func (s *Store) Head(line Line) (*Entry, error) {
	var head *Entry
	err := s.db.View(func(tx *bbolt.Tx) error {
		k, _ := tx.Bucket(bucketOutboxOrder).Cursor().Seek(line[:])
		if !bytes.HasPrefix(k, line[:]) {
			return nil
		}
		key := k[len(line):]
		e := Entry{Seq: binary.BigEndian.Uint64(key)}
		if err := json.Unmarshal(tx.Bucket(bucketOutbox).Get(key), &e); err != nil {
			return fmt.Errorf("outbox entry %d cannot be read: %w", e.Seq, err)
		}
		head = &e
		return nil
	})
	return head, err
}

// Remove removes an entry that the sink has accepted.
func (s *Store) Remove(e Entry) error {
	removed := false
	err := s.db.Batch(func(tx *bbolt.Tx) error {
		removed = tx.Bucket(bucketOutbox).Get(seqKey(e.Seq)) != nil
		return errors.Join(
			tx.Bucket(bucketOutbox).Delete(seqKey(e.Seq)),
			tx.Bucket(bucketOutboxOrder).Delete(orderKey(e.Line(), e.Seq)))
	})
	if err == nil && removed {
		s.pending.Add(-1)
	}
	return err
}

// Lines returns the lines that are not empty, each once.
func (s *Store) Lines() ([]Line, error) {
	var lines []Line
	err := s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketOutboxOrder).ForEach(func(k, _ []byte) error {
			line := Line(k[:sha256.Size])
			if n := len(lines); n == 0 || lines[n-1] != line {
				lines = append(lines, line)
			}
			return nil
		})
	})
	return lines, err
}

// OutboxStatus counts what waits to be published.
func (s *Store) OutboxStatus() (api.OutboxStatus, error) {
	status := api.OutboxStatus{}
	err := s.db.View(func(tx *bbolt.Tx) error {
		_, raw := tx.Bucket(bucketOutbox).Cursor().First()
		if raw == nil {
			return nil
		}
		e := Entry{}
		if err := json.Unmarshal(raw, &e); err != nil {
			return fmt.Errorf("the oldest outbox entry cannot be read: %w", err)
		}
		// The count is set just after the entry is stored.
		status.Pending, status.Oldest = max(1, int(s.pending.Load())), &e.AcceptedAt
		return nil
	})
	return status, err
}

// seqKey is big endian, so that the order of keys is that of the numbers.
func seqKey(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

func orderKey(line Line, seq uint64) []byte { return append(line[:], seqKey(seq)...) }
