package envelope_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/event"
	"k8s.io/apimachinery/pkg/util/validation"
	kjson "sigs.k8s.io/json"

	"github.com/xos-knative/synchronizer/functions/deadletter/envelope"
	"github.com/xos-knative/synchronizer/pkg/apis/core/v1alpha1"
)

// FuzzRoundTrip stores an event as the API does and replays it: what comes out is what was published, or an
// error says why not. Nothing that arrives is without a letter.
func FuzzRoundTrip(f *testing.F) {
	for _, data := range []string{`{"b":[1,-2.5,null,"<ä>"],"a":{"":true}}`, `[1e-999999999]`, `{"a":1,"a":2}`, "\"\xff\"", `{"a":"\ud800"}`, "{\"b\" : 1.0,\n\"a\":1e2}", "", "null", "-0", "12345678901234567890"} {
		f.Add("1", "/s", "t", "sub", "application/json", "extra", "e", "422", "bm8=", "http://event.ns.svc.cluster.local", []byte(data))
	}
	f.Add(" ", "\xff", "a\nb", "J\xf6rg", "text/plain; charset=x", "knativeerrorcode", "-1", "", "\xff", "//", []byte("hello"))
	f.Fuzz(func(t *testing.T, id, source, eventType, subject, contentType, name, value, code, reason, destination string, data []byte) {
		published := cloudevents.NewEvent()
		published.SetID(id)
		published.SetSource(source)
		published.SetType(eventType)
		if subject != "" {
			published.SetSubject(subject)
		}
		if contentType != "" {
			published.SetDataContentType(contentType)
		}
		published.DataEncoded = data
		if !event.IsExtensionNameValid(name) || published.Context.SetExtension(name, value) != nil || published.Validate() != nil {
			return // No event gets as far as this.
		}
		published.SetExtension(envelope.ExtensionCode, code)
		published.SetExtension(envelope.ExtensionReason, reason)
		published.SetExtension(envelope.ExtensionDestination, destination)

		letter := stored(t, envelope.Of(published))
		if problems := validation.IsDNS1123Subdomain(letter.Name); len(problems) > 0 {
			t.Fatalf("name %q: %v", letter.Name, problems)
		}
		if spec := letter.Spec; spec.Code < 0 || spec.Code > 999 || utf8.RuneCountInString(spec.Reason) > 4096 || strings.ContainsAny(spec.Reason, "\n\r") || utf8.RuneCountInString(spec.Destination) > 2048 {
			t.Fatalf("the definition does not take code %d, reason %q, destination %q", spec.Code, spec.Reason, spec.Destination)
		}
		restored, err := envelope.Restore(letter.Spec.Event)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "spec.event") || strings.Contains(err.Error(), "\n") {
				t.Fatalf("an error names its field in one line, got %q", err)
			}
			return
		}
		if !bytes.Equal(restored.Data(), data) {
			t.Fatalf("data: published %q, replayed %q", data, restored.Data())
		}
		for what, got := range map[string][2]string{
			"id": {published.ID(), restored.ID()}, "source": {published.Source(), restored.Source()}, "type": {published.Type(), restored.Type()},
			"subject": {published.Subject(), restored.Subject()}, "datacontenttype": {published.DataContentType(), restored.DataContentType()},
		} {
			if utf8.ValidString(got[0]) && got[0] != got[1] {
				t.Fatalf("%s: published %q, replayed %q", what, got[0], got[1])
			}
		}
	})
}

// stored is the letter as the API gives it back.
func stored(t *testing.T, letter *v1alpha1.DeadLetter) *v1alpha1.DeadLetter {
	t.Helper()
	raw, err := json.Marshal(letter)
	if err != nil {
		t.Fatal(err)
	}
	// The API server keeps what it does not know the type of in maps.
	var object any
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, &object); err != nil {
		t.Fatal(err)
	}
	if raw, err = json.Marshal(object); err != nil {
		t.Fatal(err)
	}
	back := &v1alpha1.DeadLetter{}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, back); err != nil {
		t.Fatal(err)
	}
	return back
}
