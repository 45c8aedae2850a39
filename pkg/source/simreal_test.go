package source

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"

	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
)

// TestSimulatedAPI sends the requests of some histories to the real API server. It must answer all of them as the
// model of it did, leave the same objects, and tell the same to those who watch.
func TestSimulatedAPI(t *testing.T) {
	client, err := dynamic.NewForConfig(kubeapitest.Shared(t).Config())
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("Seed", seed), func(t *testing.T) {
			t.Parallel()
			var done []simDone
			s := history(t, &choices{random: rand.New(rand.NewPCG(seed, 0))}, func(s *sim) {
				s.api.done = &done
				s.enabled[userReplaces] = true
			})
			r := &simReplay{T: t, dynamic: client, namespace: kubeapitest.Namespace(t), uids: strings.NewReplacer(), versions: map[string]string{}}
			r.play(done, s.api.log)
		})
	}
}

// simReplay has the real API server do what the model of it has done.
type simReplay struct {
	*testing.T
	dynamic   dynamic.Interface
	namespace string
	// Pairs of UIDs, and the versions of the server by those of the model.
	pairs    []string
	uids     *strings.Replacer
	versions map[string]string
}

func (r *simReplay) resource(plural string) dynamic.ResourceInterface {
	k := newSimAPI().kind(plural)
	return r.dynamic.Resource(k.GVR()).Namespace(r.namespace)
}

func (r *simReplay) play(done []simDone, log []simChange) {
	r.Helper()
	watches := map[string]watch.Interface{}
	for _, plural := range []string{"books", "shelves"} {
		w, err := r.resource(plural).Watch(r.Context(), metav1.ListOptions{})
		if err != nil {
			r.Fatal(err)
		}
		defer w.Stop()
		watches[plural] = w
	}
	for i, d := range done {
		if d.verb == "list" {
			continue
		}
		err := r.do(d)
		if got, want := answerOf(err), answerOf(d.err); got != want {
			r.Fatalf("request %d, %s %s: the server answers %q, the model %q", i, d, d.body, got, want)
		}
		got, err := r.resource(d.plural).Get(r.Context(), d.name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			got, err = nil, nil
		}
		if err != nil {
			r.Fatal(err)
		}
		r.learn(got, d.object)
		if diff := cmp.Diff(r.normal(got, true), r.normal(d.object, false)); diff != "" {
			r.Fatalf("request %d, %s %s: -server, +model:\n%s", i, d, d.body, diff)
		}
	}
	last := map[string]string{} // By UID.
	for _, change := range log {
		want := fmt.Sprint(change.EventType, r.normal(change.object, false))
		got := want
		// The server also tells when no more has changed than metadata.managedFields.
		for repeated := true; repeated; {
			select {
			case event := <-watches[change.plural].ResultChan():
				u := event.Object.(*unstructured.Unstructured)
				got = fmt.Sprint(event.Type, r.normal(u, true))
				repeated = got != want && got == last[string(u.GetUID())]
				last[string(u.GetUID())] = strings.Replace(got, string(watch.Added), string(watch.Modified), 1)
			case <-time.After(patience):
				r.Fatalf("watch: the server does not tell %s of %s", change.EventType, change.name)
			}
		}
		if diff := cmp.Diff(got, want); diff != "" {
			r.Fatalf("watch: -server, +model:\n%s", diff)
		}
	}
}

// learn remembers what stands for what.
func (r *simReplay) learn(real, model *unstructured.Unstructured) {
	if real == nil || model == nil {
		return
	}
	r.versions[model.GetResourceVersion()] = real.GetResourceVersion()
	if uid := string(model.GetUID()); r.uids.Replace(`"`+uid+`"`) == `"`+uid+`"` {
		r.pairs = append(r.pairs, `"`+uid+`"`, `"`+string(real.GetUID())+`"`)
		r.uids = strings.NewReplacer(r.pairs...)
	}
}

var versionIn = regexp.MustCompile(`("resourceVersion":|"path":"/metadata/resourceVersion","value":)"(\d+)"`)

// translate puts the server's UIDs and versions into JSON.
func (r *simReplay) translate(body []byte) []byte {
	text := versionIn.ReplaceAllStringFunc(r.uids.Replace(string(body)), func(m string) string {
		parts := versionIn.FindStringSubmatch(m)
		return parts[1] + `"` + r.versions[parts[2]] + `"`
	})
	return []byte(text)
}

func (r *simReplay) do(d simDone) (err error) {
	c, ctx := r.resource(d.plural), context.Background()
	var u *unstructured.Unstructured
	if d.simRequest.object != nil {
		u = &unstructured.Unstructured{}
		raw := must(d.simRequest.object.MarshalJSON())
		if err := u.UnmarshalJSON(r.translate(raw)); err != nil {
			return err
		}
		u.SetNamespace(r.namespace)
		u.SetName(d.name)
	}
	var sub []string
	if d.status {
		sub = []string{"status"}
	}
	switch d.verb {
	case "get":
		_, err = c.Get(ctx, d.name, metav1.GetOptions{})
	case "create":
		_, err = c.Create(ctx, u, metav1.CreateOptions{})
	case "patch":
		_, err = c.Patch(ctx, d.name, d.patch, r.translate(d.body), metav1.PatchOptions{}, sub...)
	case "update":
		_, err = c.Update(ctx, u, metav1.UpdateOptions{}, sub...)
	case "delete":
		options := metav1.DeleteOptions{}
		if d.must != nil && d.must.UID != nil {
			uid := types.UID(strings.Trim(r.uids.Replace(`"`+string(*d.must.UID)+`"`), `"`))
			options.Preconditions = &metav1.Preconditions{UID: &uid}
		}
		err = c.Delete(ctx, d.name, options)
	}
	return err
}

// answerOf is what callers look at in an error.
func answerOf(err error) string {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return fmt.Sprint(err)
	}
	s := status.Status()
	answer := fmt.Sprint(s.Code, s.Reason)
	if s.Details != nil {
		for _, c := range s.Details.Causes {
			answer += fmt.Sprint(" ", c.Type, c.Field)
		}
	}
	return answer
}

// normal is what the protocol looks at in an object.
func (r *simReplay) normal(u *unstructured.Unstructured, real bool) map[string]any {
	if u == nil {
		return nil
	}
	raw := must(u.MarshalJSON())
	if !real {
		raw = r.translate(raw)
	}
	n := &unstructured.Unstructured{}
	if err := n.UnmarshalJSON(raw); err != nil {
		r.Fatal(err)
	}
	return map[string]any{"name": n.GetName(), "uid": n.GetUID(), "generation": n.GetGeneration(), "deleting": n.GetDeletionTimestamp() != nil,
		"finalizers": n.GetFinalizers(), "annotations": n.GetAnnotations(), "spec": n.Object["spec"], "status": n.Object["status"]}
}
