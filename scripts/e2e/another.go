package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"knative.dev/pkg/apis"

	corev1alpha1 "github.com/xos-knative/synchronizer/pkg/apis/core/v1alpha1"
)

// another adds and removes another synchronizer, the library of the tests, while
// hello-world goes on working.
func (s *suite) another(ctx context.Context) error {
	before, err := coreObjects(ctx)
	if err != nil {
		return err
	}
	stop := s.stream(ctx)
	err = s.comeAndGo(ctx)
	changes, slowest, streamErr := stop()
	if err := errors.Join(err, streamErr); err != nil {
		return err
	}
	s.note(fmt.Sprintf("%d changes", changes), "slowest to get Ready while another synchronizer comes and goes", seconds(slowest))
	after, err := coreObjects(ctx)
	if err != nil {
		return err
	}
	if diff := cmp.Diff(before, after); diff != "" {
		return fmt.Errorf("objects of the core have changed, -before +after:\n%s", diff)
	}
	// Hello-world has lost nothing.
	if err := s.untilConverged(ctx); err != nil {
		return err
	}
	_, err = kubectl(ctx, "delete", "hwsi,hws", "--all", timeout)
	return err
}

// comeAndGo adds the library, uses it, changes its definitions and removes it.
func (s *suite) comeAndGo(ctx context.Context) error {
	start := time.Now()
	if err := s.koApply(ctx, libraryDir+"/config", libraryDir+"/eventing"); err != nil {
		return err
	}
	if err := waitInstalled(ctx, library, system); err != nil {
		return err
	}
	s.measured("the library", "from the start of ko apply until everything is Ready", time.Since(start))
	if err := applyIn(ctx, library, shelf("tall"), book("thick", "tall"), book("thin", "tall")); err != nil {
		return err
	}
	if err := kubectlAll(ctx, allReady); err != nil {
		return err
	}
	for _, part := range []func(context.Context) error{s.odd, s.versions, s.lost} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	start = time.Now()
	if err := remove(ctx, libraryDir); err != nil {
		return err
	}
	s.measured("the library", "scripts/remove.sh", time.Since(start))
	if err := until(ctx, "nothing of the library is left", func() error { return leftovers(ctx, library) }); err != nil {
		return err
	}
	return noSubscriber(ctx, "/"+library+"-")
}

// noSubscriber checks that the channel of Broker models does not deliver to Triggers that
// are gone, if the Broker has a channel in memory.
func noSubscriber(ctx context.Context, of string) error {
	out, err := output(ctx, "", "kubectl", "get", "inmemorychannels.messaging.knative.dev", "-n", system, "-o",
		`jsonpath={range .items[*].spec.subscribers[*]}{.subscriberUri}{"\n"}{end}`)
	if err != nil {
		return nil // The cluster has another broker.
	}
	return expect(!strings.Contains(out, of), "Broker models still delivers to %s:\n%s", of, out)
}

// lost publishes an event that the library cannot handle: a dead letter of the library, and the only one.
func (s *suite) lost(ctx context.Context) error {
	broker, err := s.linkToAddressable(ctx, library, "brokers.eventing.knative.dev", "events")
	if err != nil {
		return err
	}
	a, err := broker.shown(ctx, "", event("e2e-lost", `{}`)...)
	if err := want(http.StatusAccepted, a, err); err != nil {
		return err
	}
	if err := until(ctx, "the dead letter is in the namespace of the library", func() error {
		letters, err := get[corev1alpha1.DeadLetterList](ctx, "deadletters", "-n", library)
		if err != nil {
			return err
		}
		return expect(len(letters.Items) == 1 && letters.Items[0].Spec.Event.ID == "e2e-lost", "there are %+v", letters.Items)
	}); err != nil {
		return err
	}
	if _, err := kubectl(ctx, "get", "deadletters", "-A"); err != nil {
		return err
	}
	letters, err := get[corev1alpha1.DeadLetterList](ctx, "deadletters", "-n", namespace)
	if err != nil {
		return err
	}
	return expect(len(letters.Items) == 0, "hello-world has dead letters: %+v", letters.Items)
}

func shelf(name string) any {
	return libraryModel("Shelf", name, map[string]any{"label": "Shelf " + name})
}

func book(name, onShelf string) any {
	return libraryModel("Book", name, map[string]any{"title": "A " + name + " book", "shelf": map[string]any{"name": onShelf}})
}

func libraryModel(kind, name string, spec map[string]any) map[string]any {
	return map[string]any{
		"apiVersion": "library.xos-knative.dev/v1alpha1", "kind": kind,
		"metadata": map[string]any{"name": name}, "spec": spec,
	}
}

// streamed is how many instances the stream changes in turn.
const streamed = 5

// stream changes instances of hello-world, one after another, and waits for each to get
// Ready. The function that it returns ends it and says how many changes there were, and
// how long the slowest took.
func (s *suite) stream(ctx context.Context) (stop func() (changes int, slowest time.Duration, err error)) {
	end, done := make(chan struct{}), make(chan error, 1)
	var changes int
	var slowest time.Duration
	go func() {
		done <- func() error {
			if err := applyQuietly(ctx, newService("stream", "Jhon Snow")); err != nil {
				return err
			}
			for {
				select {
				case <-end:
					return nil
				default:
				}
				took, err := streamOne(ctx, changes)
				if err != nil {
					return fmt.Errorf("change %d of the stream: %w", changes+1, err)
				}
				changes++
				slowest = max(slowest, took)
			}
		}()
	}()
	return func() (int, time.Duration, error) {
		close(end)
		err := <-done
		if err == nil && changes == 0 {
			err = errors.New("the stream has made no change")
		}
		return changes, slowest, err
	}
}

// streamOne makes the nth change and says how long it then took to get Ready. (The time of
// kubectl apply is not ours: it reads all definitions again when there are new ones.)
func streamOne(ctx context.Context, n int) (time.Duration, error) {
	name := fmt.Sprintf("stream-%d", n%streamed)
	if err := applyQuietly(ctx, newInstance(name, fmt.Sprintf("Guest %d", n), "stream")); err != nil {
		return 0, err
	}
	start := time.Now()
	err := untilQuietly(ctx, name+" is Ready", func() error {
		i, err := instance(ctx, name)
		if err != nil {
			return err
		}
		return expect(isTrue(&i.Status, i.Generation, apis.ConditionReady), "it is not: %+v", i.Status)
	})
	return time.Since(start), err
}

// coreObjects are the objects of the core as they are in the cluster, without what
// controllers write: status, and the rules of aggregated roles.
func coreObjects(ctx context.Context) (map[string]any, error) {
	all := map[string]any{}
	for _, folder := range []string{"config/core", "eventing/core"} {
		rendered, err := output(ctx, "", "kubectl", "kustomize", folder)
		if err != nil {
			return nil, err
		}
		out, err := output(ctx, rendered, "kubectl", "get", "-f", "-", "-o", "json")
		if err != nil {
			return nil, err
		}
		var list unstructured.UnstructuredList
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			return nil, err
		}
		for _, o := range list.Items {
			key := strings.Join([]string{o.GetKind(), o.GetNamespace(), o.GetName()}, " ")
			o.SetManagedFields(nil)
			_, reports := o.Object["status"]
			_, aggregated := o.Object["aggregationRule"]
			if reports || aggregated {
				o.SetResourceVersion("")
				delete(o.Object, "status")
				delete(o.Object, "rules")
			}
			all[key] = o.Object
		}
	}
	if len(all) == 0 {
		return nil, errors.New("config/core and eventing/core: no object of theirs is in the cluster")
	}
	return all, nil
}
