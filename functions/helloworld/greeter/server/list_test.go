package server_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	"k8s.io/utils/ptr"

	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/client"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/greetertest"
)

var listAll = client.ListOptions{}

// fill stores n greetings, every third of them the greeter's own.
func fill(t testing.TB, g *greetertest.Greeter, n int) {
	t.Helper()
	var writers errgroup.Group
	writers.SetLimit(64) // They share the store's writes.
	for i := range n {
		writers.Go(func() error {
			r := api.PutRequest{Name: "n", HelloFrom: "f", HelloTo: "t"}
			if i%3 != 0 {
				r.Generation, r.Model = 1, &api.ModelRef{Namespace: "ns", Name: "m", UID: id(i)}
			}
			_, _, err := g.Store.Put(id(i), r)
			return err
		})
	}
	if err := writers.Wait(); err != nil {
		t.Fatal(err)
	}
}

func id(i int) string { return fmt.Sprintf("id-%06d", i) }

func TestList(t *testing.T) {
	g := greetertest.Start(t)
	fill(t, g, 10)
	tests := map[string]struct {
		reason  string
		managed *bool
		limit   int
		want    [][]string
	}{
		"Default":   {"all fit on the default page", nil, 0, [][]string{{id(0), id(1), id(2), id(3), id(4), id(5), id(6), id(7), id(8), id(9)}}},
		"Pages":     {"pages follow each other without a gap", nil, 4, [][]string{{id(0), id(1), id(2), id(3)}, {id(4), id(5), id(6), id(7)}, {id(8), id(9)}}},
		"LastFull":  {"after a last page that is full there is no empty one", nil, 5, [][]string{{id(0), id(1), id(2), id(3), id(4)}, {id(5), id(6), id(7), id(8), id(9)}}},
		"Own":       {"a page is full although others are left out", ptr.To(false), 3, [][]string{{id(0), id(3), id(6)}, {id(9)}}},
		"Managed":   {"a page is full although others are left out", ptr.To(true), 4, [][]string{{id(1), id(2), id(4), id(5)}, {id(7), id(8)}}},
		"OneByOne":  {"the smallest page", ptr.To(false), 1, [][]string{{id(0)}, {id(3)}, {id(6)}, {id(9)}}},
		"LargePage": {"the largest page", nil, api.MaxLimit, [][]string{{id(0), id(1), id(2), id(3), id(4), id(5), id(6), id(7), id(8), id(9)}}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var got [][]string
			for o := (client.ListOptions{Limit: tc.limit, Managed: tc.managed}); ; {
				page, err := g.Client.List(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				var ids []string
				for _, item := range page.Items {
					ids = append(ids, item.ID)
				}
				got = append(got, ids)
				if o.Continue = page.Continue; o.Continue == "" {
					break
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s: -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestListWhileItChanges(t *testing.T) {
	g := greetertest.Start(t)
	fill(t, g, 6)
	var got []string
	for item, err := range g.Client.All(t.Context(), client.ListOptions{Limit: 2}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, item.ID)
		// The greeting before the next page is deleted, and one before it is created.
		if item.ID == id(1) {
			if err := g.Client.Delete(t.Context(), id(1), 0); err != nil {
				t.Fatal(err)
			}
			if _, err := g.Client.Put(t.Context(), id(0)+"-new", api.PutRequest{Name: "n", HelloTo: "t"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if diff := cmp.Diff([]string{id(0), id(1), id(2), id(3), id(4), id(5)}, got); diff != "" {
		t.Errorf("everything that was there the whole time is listed once: -want, +got:\n%s", diff)
	}
}

func TestLargestPage(t *testing.T) {
	// A control character takes six bytes in JSON, more than any other character.
	longest := strings.Repeat("\x01", api.MaxText)
	raw, err := json.Marshal(api.Greeting{
		ID: strings.Repeat("i", 128), Name: longest, HelloFrom: longest, HelloTo: longest, Message: longest + " is saying hello to " + longest,
		Generation: 1<<63 - 1, Model: &api.ModelRef{Namespace: longest, Name: longest, UID: longest},
	})
	if err != nil {
		t.Fatal(err)
	}
	if page := api.MaxLimit * (len(raw) + 100); page > api.MaxPage {
		t.Errorf("a full page of the longest greetings has up to %d bytes, which is more than the %d that clients read", page, api.MaxPage)
	}
}

// BenchmarkPut has one caller, and many at once. The store does not wait for the disk.
func BenchmarkPut(b *testing.B) {
	for _, stored := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("stored=%d", stored), func(b *testing.B) {
			g := greetertest.Start(b)
			fill(b, g, stored)
			n := int64(1)
			for b.Loop() {
				n++
				_, err := g.Client.Put(b.Context(), id(1), api.PutRequest{Name: "n", HelloFrom: "f", HelloTo: "t", Generation: n,
					Model: &api.ModelRef{Namespace: "ns", Name: "m", UID: id(1)}})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("unchanged", func(b *testing.B) {
		g := greetertest.Start(b)
		for b.Loop() {
			if _, err := g.Client.Put(b.Context(), "a", api.PutRequest{Name: "n", HelloTo: "t"}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("concurrent", func(b *testing.B) {
		g := greetertest.Start(b)
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			n := 0
			for pb.Next() {
				n++
				if _, err := g.Client.Put(b.Context(), fmt.Sprintf("%p", pb), api.PutRequest{Name: "n", HelloTo: fmt.Sprint(n)}); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// BenchmarkList lists all pages. The cost of a greeting must not depend on how many there are.
func BenchmarkList(b *testing.B) {
	for _, stored := range []int{100, 1_000, 10_000} {
		b.Run(fmt.Sprintf("stored=%d", stored), func(b *testing.B) {
			g := greetertest.Start(b)
			fill(b, g, stored)
			for b.Loop() {
				n := 0
				for _, err := range g.Client.All(b.Context(), listAll) {
					if err != nil {
						b.Fatal(err)
					}
					n++
				}
				if n != stored {
					b.Fatalf("got %d, want %d", n, stored)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(stored), "ns/greeting")
		})
	}
}
