package main

import (
	"encoding/json"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
)

// reads makes a reading of what a kubelet says.
func reads(t *testing.T, stats string) reading {
	t.Helper()
	s, r := &summary{}, reading{}
	if err := json.Unmarshal([]byte(stats), s); err != nil {
		t.Fatal(err)
	}
	r.read(s, map[types.NamespacedName]string{{Namespace: "helloworld", Name: "sync-1"}: "sync", {Namespace: "helloworld", Name: "sync-2"}: "sync"})
	return r
}

func TestReading(t *testing.T) {
	before := reads(t, `{"pods": [
		{"podRef": {"namespace": "helloworld", "name": "sync-1"}, "containers": [
			{"name": "user-container", "cpu": {"time": "2026-11-01T10:00:00Z", "usageCoreNanoSeconds": 1000000000}, "memory": {"workingSetBytes": 1048576}},
			{"name": "queue-proxy", "cpu": {"time": "2026-11-01T10:00:05Z", "usageCoreNanoSeconds": 0}, "memory": {"workingSetBytes": 0}}]},
		{"podRef": {"namespace": "knative-eventing", "name": "b"}, "containers": [
			{"name": "filter", "cpu": {"time": "2026-11-01T10:00:00Z", "usageCoreNanoSeconds": 5000000000}, "memory": {"workingSetBytes": 1048576}}]}]}`)
	after := reads(t, `{"pods": [
		{"podRef": {"namespace": "helloworld", "name": "sync-1"}, "containers": [
			{"name": "user-container", "cpu": {"time": "2026-11-01T10:00:10Z", "usageCoreNanoSeconds": 1200000000}, "memory": {"workingSetBytes": 2097152}},
			{"name": "queue-proxy", "cpu": {"time": "2026-11-01T10:00:15Z", "usageCoreNanoSeconds": 50000000}, "memory": {"workingSetBytes": 1048576}}]},
		{"podRef": {"namespace": "helloworld", "name": "sync-2"}, "containers": [
			{"name": "user-container", "cpu": {"time": "2026-11-01T10:00:10Z", "usageCoreNanoSeconds": 100000000}, "memory": {"workingSetBytes": 2097152}}]},
		{"podRef": {"namespace": "peer", "name": "peer-1"}, "containers": [
			{"name": "peer", "cpu": {"time": "2026-11-01T10:00:10Z", "usageCoreNanoSeconds": 20000000}, "memory": {"workingSetBytes": 3145728}}]},
		{"podRef": {"namespace": "kube-system", "name": "dns"}, "containers": [
			{"name": "dns", "cpu": {"time": "2026-11-01T10:00:10Z", "usageCoreNanoSeconds": 9}, "memory": {"workingSetBytes": 9}}]},
		{"podRef": {"namespace": "knative-eventing", "name": "b"}, "containers": [
			{"name": "filter", "cpu": {"time": "2026-11-01T10:00:10Z", "usageCoreNanoSeconds": 5010000000}, "memory": {"workingSetBytes": 1048576}}]}]}`)
	cpu, mib := after.since(before, 10)
	if diff := cmp.Diff(map[string]float64{"sync": 30, "queue-proxy": 5, "peer": 2, "knative-eventing": 1, "all": 38}, cpu); diff != "" {
		t.Errorf("ms of CPU for each of 10 models, of all pods of a program: -want, +got:\n%s", diff)
	}
	if diff := cmp.Diff(map[string]float64{"sync": 4, "queue-proxy": 1, "peer": 3, "knative-eventing": 1, "all": 9}, mib); diff != "" {
		t.Errorf("MiB at the end, of all pods of a program: -want, +got:\n%s", diff)
	}
	stale := maps.Clone(after)
	filter := containerName{"knative-eventing", "b", "filter"}
	stale[filter] = before[filter]
	if !after.isLater(before) || stale.isLater(before) || before.isLater(before) {
		t.Error("a reading is later when each container was looked at since, new ones at all")
	}
}

// TestPeer checks what is deployed beside hello-world: known kinds, and what the greeter's network policy asks for.
func TestPeer(t *testing.T) {
	all := applied(t, peerDir)
	for _, o := range all {
		checkKnown(t, o)
	}
	if ns := all["Namespace /"+peer]; ns == nil || ns.GetLabels()["greeter.xos-knative.dev/client"] != "true" {
		t.Errorf("the greeter lets in namespaces with its label, got %v", ns)
	}
	if all["Deployment "+peer+"/peer"] == nil {
		t.Errorf("expected the Deployment whose rollout is waited for, got %v", all)
	}
}
