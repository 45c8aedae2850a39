package systemtest

import (
	"strings"
	"testing"

	"github.com/xos-knative/synchronizer/functions/greeter/api"
	"github.com/xos-knative/synchronizer/pkg/apis/helloworld/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/local"
	"github.com/xos-knative/synchronizer/pkg/model"
)

// guest is the event of the tutorial: somebody asks for a greeting.
func guest() map[string]string {
	return map[string]string{
		"Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Source": "/test", "Ce-Type": api.TypeRequested, "Content-Type": "application/json",
	}
}

// find looks for the instance that greets somebody; nil if there is none.
func (w *world) find(helloTo string) (found *v1alpha1.HelloWorldServiceInstance) {
	w.Helper()
	err := w.instances.Each(w.Context(), namespace, model.Filter{}, func(i *v1alpha1.HelloWorldServiceInstance) error {
		if i.Spec.HelloTo == helloTo {
			found = i
		}
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	return found
}

// TestFromMicroService walks through the two ways from the micro-service to
// the model: what is pulled is never synced, what an event brings is.
func TestFromMicroService(t *testing.T) {
	w := start(t, local.Options{})
	w.service("helloworld", "Jhon Snow")

	// Pulled: an instance "Pulled Record" for "Dude", never pushed.
	own := api.PutRequest{Name: "Pulled Record", HelloTo: "Dude"}
	if _, err := w.greeter.Put(t.Context(), "own", own); err != nil {
		t.Fatal(err)
	}
	tick := map[string]string{"Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Source": "/test", "Ce-Type": "dev.knative.sources.ping"}
	if code, body := w.post("pull", "", tick); code != 200 || !strings.Contains(body, `"created":1`) {
		t.Fatalf("expected a round that created one instance, got %d: %s", code, body)
	}
	pulled := w.find("Dude")
	if pulled == nil || pulled.Spec.Name != "Pulled Record" || pulled.Annotations[model.AnnotationNoSync] != "true" {
		t.Fatalf("expected an instance Pulled Record with no-sync, got %+v", pulled)
	}
	w.untilReady(pulled.Name) // By its policy.
	if pulled = w.get(pulled.Name); pulled.Status.Sync != nil {
		t.Errorf("expected no sync of a pulled instance, got %+v", pulled.Status.Sync)
	}
	w.greets("The greeter is saying hello to Dude")

	// Taking the annotation away pushes it.
	delete(pulled.Annotations, model.AnnotationNoSync)
	if _, _, err := w.instances.Save(t.Context(), pulled); err != nil {
		t.Fatal(err)
	}
	w.greets("The greeter is saying hello to Dude", message("Jhon Snow", "Dude"))

	// By event: an instance that is synced; the same event again changes nothing.
	const data = `{"name": "Guest", "hello_to": "Sansa Stark"}`
	if code, body := w.post("event", data, guest()); code != 200 || !strings.Contains(body, `"created"`) {
		t.Fatalf("expected an instance to be created, got %d: %s", code, body)
	}
	w.greets("The greeter is saying hello to Dude", message("Jhon Snow", "Dude"), message("Jhon Snow", "Sansa Stark"))
	name := w.find("Sansa Stark").Name
	w.untilReady(name)
	before := w.get(name).ResourceVersion
	if code, body := w.post("event", data, guest()); code != 200 || !strings.Contains(body, `"unchanged"`) {
		t.Errorf("expected nothing new, got %d: %s", code, body)
	}
	if after := w.get(name).ResourceVersion; after != before {
		t.Errorf("the same event again changed the instance from version %s to %s", before, after)
	}
}
