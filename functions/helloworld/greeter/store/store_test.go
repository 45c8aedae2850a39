package store

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
)

const ttl = 24 * time.Hour

func testConfig(dir string) Config {
	return Config{DataDir: dir, LockTimeout: 50 * time.Millisecond, TombstoneTTL: ttl, OutboxLimit: 100, NoSync: true}
}

func open(t *testing.T, c Config) *Store {
	t.Helper()
	s, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func managed(generation int64, to string) api.PutRequest {
	return api.PutRequest{Name: "n", HelloFrom: "f", HelloTo: to, Generation: generation, Model: &api.ModelRef{Namespace: "ns", Name: "m", UID: "u"}}
}

func from(generation, version int64, to string) api.PutRequest {
	r := managed(generation, to)
	r.From = &api.Version{UID: "from", Generation: version}
	return r
}

func own(to string) api.PutRequest { return api.PutRequest{Name: "n", HelloTo: to} }

func TestWriters(t *testing.T) {
	type op struct {
		put    *api.PutRequest
		delete int64         // The generation, if put is nil.
		wait   time.Duration // Before it.

		conflict string
		change   Change
	}
	put := func(r api.PutRequest, change Change) op { return op{put: &r, change: change} }
	refused := func(r api.PutRequest, conflict string) op { return op{put: &r, conflict: conflict} }
	other := managed(9, "a")
	other.Model = &api.ModelRef{Namespace: "ns", Name: "m", UID: "another"}

	type want struct {
		To         string
		Generation int64
		Managed    bool
	}
	tests := map[string]struct {
		reason string
		ops    []op
		want   *want
	}{
		"Newer": {
			reason: "a newer generation replaces an older one",
			ops:    []op{put(managed(1, "a"), Created), put(managed(3, "b"), Updated)},
			want:   &want{"b", 3, true},
		},
		"Older": {
			reason: "an older write must not replace a newer one",
			ops:    []op{put(managed(3, "b"), Created), refused(managed(2, "a"), "generation: 2 is older than 3")},
			want:   &want{"b", 3, true},
		},
		"OlderFrom": {
			reason: "nor one of the same generation that has read an older version of another model",
			ops:    []op{put(from(3, 2, "b"), Created), refused(from(3, 1, "a"), "hello_from_version.generation: 1 is older than 2"), put(from(3, 2, "b"), Unchanged), put(from(3, 3, "c"), Updated)},
			want:   &want{"c", 3, true},
		},
		"Same": {
			reason: "the same write again changes nothing",
			ops:    []op{put(managed(3, "b"), Created), put(managed(3, "b"), Unchanged)},
			want:   &want{"b", 3, true},
		},
		"Repair": {
			reason: "a synchronizer repairs what somebody changed by writing the same generation again",
			ops:    []op{put(managed(3, "b"), Created), put(own("x"), Updated), put(managed(3, "b"), Updated)},
			want:   &want{"b", 3, true},
		},
		"ByOthers": {
			reason: "a write without a generation changes the texts, but neither the model nor the generation",
			ops:    []op{put(managed(3, "b"), Created), put(own("x"), Updated), refused(managed(2, "a"), "generation: 2 is older than 3")},
			want:   &want{"x", 3, true},
		},
		"OtherModel": {
			reason: "generations of different models cannot be compared",
			ops:    []op{put(managed(3, "b"), Created), refused(other, "model.uid: the greeting belongs to ns/m (u)")},
			want:   &want{"b", 3, true},
		},
		"TakeOver": {
			reason: "a synchronizer takes over a greeting of the greeter's own that has the same id",
			ops:    []op{put(own("x"), Created), put(managed(1, "a"), Updated)},
			want:   &want{"a", 1, true},
		},
		"LateAfterDelete": {
			reason: "a write that was sent before the deletion and arrives after it must not bring the greeting back",
			ops: []op{put(managed(3, "b"), Created), {delete: 3},
				refused(managed(3, "b"), "generation: 3 is not newer than 3"), refused(managed(2, "b"), "generation: 2 is not newer than 3")},
		},
		"LateAfterDeleteOfNothing": {
			reason: "also if there was nothing to delete, because the deletion came before the first write",
			ops:    []op{{delete: 3}, refused(managed(3, "b"), "generation: 3 is not newer than 3")},
		},
		"NewerAfterDelete": {
			reason: "a newer generation than the deletion's creates the greeting again",
			ops:    []op{{delete: 3}, put(managed(4, "b"), Created), refused(managed(3, "a"), "generation: 3 is older than 4")},
			want:   &want{"b", 4, true},
		},
		"DeleteOlder": {
			reason: "an older deletion is refused too",
			ops:    []op{put(managed(3, "b"), Created), {delete: 2, conflict: "generation: 2 is older than 3"}},
			want:   &want{"b", 3, true},
		},
		"DeleteTwice": {
			reason: "an older deletion after a newer one is no error, and the tombstone stays as it is",
			ops:    []op{{delete: 3}, {delete: 2}, refused(managed(3, "b"), "generation: 3 is not newer than 3")},
		},
		"DeletedByOthers": {
			reason: "after a deletion without a generation the same generation can be written again",
			ops:    []op{put(managed(3, "b"), Created), {delete: 0}, put(managed(3, "b"), Created)},
			want:   &want{"b", 3, true},
		},
		"OwnOverTombstone": {
			reason: "the greeter's own greeting can have the id of a deleted one; late writes are still refused",
			ops:    []op{{delete: 3}, put(own("x"), Created), refused(managed(3, "b"), "generation: 3 is not newer than 3")},
			want:   &want{"x", 0, false},
		},
		"TombstoneHolds": {
			reason: "a tombstone counts until it expires",
			ops:    []op{{delete: 3}, {put: new(managed(3, "b")), wait: ttl - 1, conflict: "generation: 3 is not newer"}},
		},
		"TombstoneExpires": {
			reason: "and not longer",
			ops:    []op{{delete: 3}, {put: new(managed(3, "b")), wait: ttl, change: Created}},
			want:   &want{"b", 3, true},
		},
		"TombstoneRenewed": {
			reason: "another deletion renews the tombstone",
			ops:    []op{{delete: 3}, {delete: 3, wait: ttl - 1}, {put: new(managed(3, "b")), wait: ttl - 1, conflict: "generation: 3 is not newer"}},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			config := testConfig(t.TempDir())
			clock := clocktesting.NewFakePassiveClock(time.Unix(1e9, 0))
			config.Clock = clock
			s := open(t, config)

			for i, o := range tc.ops {
				clock.SetTime(clock.Now().Add(o.wait))
				var err error
				change := Unchanged
				if o.put == nil {
					_, err = s.Delete("u", o.delete)
				} else {
					_, change, err = s.Put("u", *o.put)
				}
				if change != o.change {
					t.Errorf("%s: step %d: change: got %v, want %v", tc.reason, i, change, o.change)
				}
				var conflict *ConflictError
				if o.conflict == "" && err != nil || o.conflict != "" && (!errors.As(err, &conflict) || !strings.Contains(conflict.Reason, o.conflict)) {
					t.Errorf("%s: step %d: got error %v, want %q", tc.reason, i, err, o.conflict)
				}
			}

			var got *want
			g, err := s.Get("u")
			if err == nil {
				got = &want{g.HelloTo, g.Generation, g.Model != nil}
			}
			if err != nil && !errors.Is(err, ErrNotFound) {
				t.Errorf("%s: %v", tc.reason, err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s: -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestTimes(t *testing.T) {
	config := testConfig(t.TempDir())
	start := time.Unix(1e9, 0).UTC()
	clock := clocktesting.NewFakePassiveClock(start)
	config.Clock = clock
	s := open(t, config)

	steps := []struct {
		reason      string
		put         api.PutRequest
		wantUpdated time.Duration
	}{
		{"created", managed(1, "a"), 0},
		{"the same again", managed(1, "a"), 0},
		{"a newer generation with the same texts", managed(2, "a"), 0},
		{"another text", managed(3, "b"), 3 * time.Minute},
	}
	for i, step := range steps {
		clock.SetTime(start.Add(time.Duration(i) * time.Minute))
		got, _, err := s.Put("u", step.put)
		if err != nil {
			t.Fatal(err)
		}
		want := api.Greeting{ID: "u", Name: "n", HelloFrom: "f", HelloTo: step.put.HelloTo, Message: "f is saying hello to " + step.put.HelloTo,
			Generation: step.put.Generation, Model: step.put.Model, CreatedAt: start, UpdatedAt: start.Add(step.wantUpdated)}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -want, +got:\n%s", step.reason, diff)
		}
		stored, err := s.Get("u")
		if diff := cmp.Diff(want, stored); err != nil || diff != "" {
			t.Errorf("%s: stored: %v, -want, +got:\n%s", step.reason, err, diff)
		}
	}
}

func TestSweep(t *testing.T) {
	config := testConfig(t.TempDir())
	clock := clocktesting.NewFakePassiveClock(time.Unix(1e9, 0))
	config.Clock = clock
	s := open(t, config)

	const old = sweepBatch + 1
	err := s.db.Update(func(tx *bbolt.Tx) error {
		for i := range old {
			if err := put(tx, bucketTombstones, fmt.Appendf(nil, "old-%d", i), tombstone{Generation: 1, DeletedAt: clock.Now()}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	clock.SetTime(clock.Now().Add(ttl))
	if _, err := s.Delete("young", 1); err != nil {
		t.Fatal(err)
	}

	n, err := s.sweep()
	if n != old || err != nil {
		t.Errorf("the first sweep: got %d, %v, want %d", n, err, old)
	}
	n, err = s.sweep()
	if n != 0 || err != nil {
		t.Errorf("the second sweep: got %d, %v, want 0", n, err)
	}
	var conflict *ConflictError
	if _, _, err := s.Put("young", managed(1, "a")); !errors.As(err, &conflict) {
		t.Errorf("a tombstone that is not expired stays: got %v", err)
	}
}

func TestOpen(t *testing.T) {
	inUse := testConfig(t.TempDir())
	open(t, inUse)
	noFolder := testConfig(t.TempDir() + "/file")
	if err := os.WriteFile(noFolder.DataDir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	notOurs := testConfig(t.TempDir())
	if err := os.WriteFile(notOurs.DataDir+"/"+fileName, []byte(strings.Repeat("no store", 1<<12)), 0o600); err != nil {
		t.Fatal(err)
	}

	tests := map[string]struct {
		reason string
		config Config
		want   string
	}{
		"InUse":    {"two processes must not write one store", inUse, "another process has"},
		"Nothing":  {"every setting is named", Config{}, "DATA_DIR: required"},
		"TTL":      {"every setting is named", Config{DataDir: "x"}, "TOMBSTONE_TTL: expected more than 0"},
		"Lock":     {"bbolt would wait forever", Config{DataDir: "x"}, "STORE_LOCK_TIMEOUT: expected more than 0"},
		"Limit":    {"every setting is named", Config{DataDir: "x"}, "OUTBOX_LIMIT: expected more than 0"},
		"NoFolder": {"the path is a file", noFolder, "DATA_DIR: cannot make the folder"},
		"NotOurs":  {"the file is no store", notOurs, "DATA_DIR: cannot open"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := Open(tc.config)
			if err == nil {
				_ = s.Close()
				t.Fatalf("%s: expected an error", tc.reason)
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: got %q, want %q in it", tc.reason, err, tc.want)
			}
		})
	}
}

func TestOutbox(t *testing.T) {
	config := testConfig(t.TempDir())
	config.OutboxLimit = 3
	s := open(t, config)

	var entries []Entry
	for _, r := range []api.Request{{Name: "a", HelloTo: "1"}, {Name: "b", HelloTo: "1"}, {Name: "a", HelloTo: "2"}} {
		g, e, err := s.Accept(r)
		if err != nil {
			t.Fatal(err)
		}
		if stored, err := s.Get(g.ID); err != nil || stored.HelloTo != r.HelloTo || stored.Model != nil {
			t.Errorf("the greeting is stored with its entry: got %+v, %v", stored, err)
		}
		entries = append(entries, e)
	}
	if _, _, err := s.Accept(api.Request{Name: "c", HelloTo: "1"}); !errors.Is(err, ErrOutboxFull) {
		t.Errorf("a full outbox refuses: got %v", err)
	}

	// After a restart the same entries wait.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, config)

	status, err := s.OutboxStatus()
	if diff := cmp.Diff(api.OutboxStatus{Pending: 3, Oldest: &entries[0].AcceptedAt}, status); err != nil || diff != "" {
		t.Errorf("status: %v, -want, +got:\n%s", err, diff)
	}
	lines, err := s.Lines()
	if len(lines) != 2 || err != nil {
		t.Errorf("two names are two lines: got %d, %v", len(lines), err)
	}
	for _, want := range []*Entry{&entries[0], &entries[2], nil} {
		got, err := s.Head(entries[0].Line())
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("head of the line: %v, -want, +got:\n%s", err, diff)
		}
		if got == nil {
			continue
		}
		// Twice, as after a lost answer.
		for range 2 {
			if err := s.Remove(*got); err != nil {
				t.Fatal(err)
			}
		}
	}
	status, err = s.OutboxStatus()
	if diff := cmp.Diff(api.OutboxStatus{Pending: 1, Oldest: &entries[1].AcceptedAt}, status); err != nil || diff != "" {
		t.Errorf("status after two left: %v, -want, +got:\n%s", err, diff)
	}
	_, e, err := s.Accept(api.Request{Name: "a", HelloTo: "3"})
	if err != nil || e.Seq != 4 {
		t.Errorf("a number is not used again: got %d, %v, want 4", e.Seq, err)
	}
}
