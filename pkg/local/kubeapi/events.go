package kubeapi

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/pager"
	"k8s.io/klog/v2"
)

// eventsCRD makes the API serve events.k8s.io/v1.
//
//go:embed events.yaml
var eventsCRD []byte

const (
	// eventsTTL is how long an event is kept after it has come last, as in a cluster.
	eventsTTL = time.Hour
	// eventsInterval is how often old events are looked for.
	eventsInterval = 5 * time.Minute
)

// expireEvents deletes old events until the context ends.
func (s *Server) expireEvents(ctx context.Context) error {
	client, err := dynamic.NewForConfig(s.Config())
	if err != nil {
		return fmt.Errorf("cannot make a client for events: %w", err)
	}
	events := client.Resource(eventsv1.SchemeGroupVersion.WithResource("events"))
	go wait.UntilWithContext(ctx, func(ctx context.Context) {
		if err := deleteEvents(ctx, events, time.Now().Add(-eventsTTL)); err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "Old events cannot be deleted; they are looked for again later")
		}
	}, eventsInterval)
	return nil
}

// deleteEvents deletes the events that came last before a time.
func deleteEvents(ctx context.Context, events dynamic.NamespaceableResourceInterface, before time.Time) error {
	list := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return events.List(ctx, options)
	})
	return list.EachListItem(ctx, metav1.ListOptions{}, func(obj runtime.Object) error {
		u := obj.(*unstructured.Unstructured)
		if !lastSeen(u).Before(before) {
			return nil
		}
		err := events.Namespace(u.GetNamespace()).Delete(ctx, u.GetName(), metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
}

// lastSeen is when an event came last: as it says, otherwise when it was created.
func lastSeen(u *unstructured.Unstructured) time.Time {
	for _, field := range [][]string{{"series", "lastObservedTime"}, {"eventTime"}} {
		text, _, _ := unstructured.NestedString(u.Object, field...)
		if t, err := time.Parse(time.RFC3339, text); err == nil {
			return t
		}
	}
	return u.GetCreationTimestamp().Time
}
