package kubeapi_test

import (
	"context"
	"strings"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"

	"github.com/xos-knative/synchronizer/pkg/local/kubeapi"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/kubeapitest"
)

// TestEvents creates events of now and of long ago, and starts the API again.
func TestEvents(t *testing.T) {
	dir := t.TempDir()
	first, err := kubeapi.Start(t.Context(), kubeapi.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	long := now.Add(-2 * time.Hour).Format(metav1.RFC3339Micro)
	for name, fields := range map[string]map[string]any{
		"new":   {"eventTime": now.Format(metav1.RFC3339Micro)},
		"old":   {"eventTime": long},
		"again": {"eventTime": long, "series": map[string]any{"count": int64(2), "lastObservedTime": now.Format(metav1.RFC3339Micro)}},
		"bare":  {},
	} {
		fields["apiVersion"], fields["kind"], fields["metadata"] = "events.k8s.io/v1", "Event", map[string]any{"name": name}
		if _, err := eventsIn(t, first).Create(t.Context(), &unstructured.Unstructured{Object: fields}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}

	events := eventsIn(t, kubeapitest.StartServer(t, kubeapi.Options{Dir: dir}))
	var left []string
	err = wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		list, err := events.List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		left = nil
		for _, u := range list.Items {
			left = append(left, u.GetName())
		}
		return strings.Join(left, " ") == "again bare new", nil
	})
	if err != nil {
		t.Errorf("events that came last more than an hour ago are deleted, and no others: left are %v (%v)", left, err)
	}
}

func eventsIn(t *testing.T, s *kubeapi.Server) dynamic.ResourceInterface {
	t.Helper()
	d, err := dynamic.NewForConfig(s.Config())
	if err != nil {
		t.Fatal(err)
	}
	return d.Resource(eventsv1.SchemeGroupVersion.WithResource("events")).Namespace("any")
}
