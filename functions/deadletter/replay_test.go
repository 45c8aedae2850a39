package main

import "testing"

func TestInNamespace(t *testing.T) {
	for host, want := range map[string]bool{
		"event.helloworld.svc.cluster.local":             true,
		"event.helloworld.svc":                           true,
		"event.other.svc.cluster.local":                  false,
		"event.helloworld.svc.example.com":               false, // Somebody else's domain.
		"event.helloworld":                               false,
		"broker-ingress.knative-eventing.svc":            false,
		"evil.event.helloworld.svc.cluster.local":        false,
		"event.helloworld.svc.cluster.local.example.com": false,
		"": false,
	} {
		// Our token must not get out of the namespace.
		if got := inNamespace(host, "helloworld"); got != want {
			t.Errorf("%q: want %t, got %t", host, want, got)
		}
	}
}
