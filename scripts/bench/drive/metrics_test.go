package drive

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCountRequests(t *testing.T) {
	got, err := countRequests(strings.NewReader(`
# TYPE apiserver_request_total counter
apiserver_request_total{code="201",group="helloworld.xos-knative.dev",resource="helloworldserviceinstances",subresource="",verb="POST"} 5
apiserver_request_total{code="409",group="helloworld.xos-knative.dev",resource="helloworldserviceinstances",subresource="",verb="POST"} 1
apiserver_request_total{code="200",group="helloworld.xos-knative.dev",resource="helloworldserviceinstances",subresource="status",verb="PATCH"} 4
apiserver_request_total{code="200",group="events.k8s.io",resource="events",subresource="",verb="POST"} 2
apiserver_request_total{code="200",group="helloworld.xos-knative.dev",resource="helloworldserviceinstances",subresource="",verb="WATCH"} 9
apiserver_request_total{code="200",group="coordination.k8s.io",resource="leases",subresource="",verb="PUT"} 9
apiserver_request_total{code="200",group="apiextensions.k8s.io",resource="customresourcedefinitions",subresource="",verb="LIST"} 9
apiserver_request_total{code="200",group="",resource="",subresource="/metrics",verb="GET"} 9
`), func(group string) bool { return group != "coordination.k8s.io" && group != "apiextensions.k8s.io" })
	if diff := cmp.Diff(map[string]float64{"POST": 8, "PATCH": 4}, got); diff != "" || err != nil {
		t.Errorf("what is asked for objects counts, whatever the answer: -want, +got:\n%s%v", diff, err)
	}
	if _, err := countRequests(strings.NewReader("# nothing\n"), nil); err == nil {
		t.Error("an API server without the counter is an error, not one that nobody has asked")
	}
}
