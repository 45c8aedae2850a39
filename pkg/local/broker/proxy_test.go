package broker_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xos-knative/synchronizer/pkg/local/broker"
)

func TestClusterProxy(t *testing.T) {
	runner, other := &url.URL{Scheme: "http", Host: "127.0.0.1:1"}, &url.URL{Scheme: "http", Host: "proxy:2"}
	cases := map[string]struct {
		reason  string
		to      string
		runner  *url.URL
		want    *url.URL
		wantErr bool
	}{
		"Local":     {reason: "Names of the cluster lead to the runner.", to: "http://x.ns.svc.cluster.local:80/y", runner: runner, want: runner},
		"NoRunner":  {reason: "Without a runner nobody is there, and no DNS is asked.", to: "http://x.ns.svc.cluster.local", wantErr: true},
		"Elsewhere": {reason: "Other names go where they went before.", to: "http://example.com", want: other},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			proxy := broker.ClusterProxy(
				func() *url.URL { return tc.runner },
				func(*http.Request) (*url.URL, error) { return other, nil })
			got, err := proxy(httptest.NewRequest(http.MethodPost, tc.to, nil))
			if diff := cmp.Diff(tc.want, got); diff != "" || (err != nil) != tc.wantErr {
				t.Errorf("\n%s\n-want, +got:\n%s\nerror %v", tc.reason, diff, err)
			}
		})
	}
}
