package broker_test

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"
	eventingduckv1 "knative.dev/eventing/pkg/apis/duck/v1"
	"knative.dev/eventing/pkg/broker"
	"knative.dev/pkg/apis"

	"github.com/xos-knative/synchronizer/pkg/function/functiontest/conformance"
)

// These tests hold the Broker against Knative's specification (knative/specs, specs/eventing): "data plane" is
// data-plane.md, "delivery" is its section "Event Acknowledgement and Delivery Retry", "reply" is "Derived (Reply) Events".

// once is delivery with one retry, at once, and a dead letter sink.
func once() *eventingduckv1.DeliverySpec {
	return &eventingduckv1.DeliverySpec{
		DeadLetterSink: destination("letters"), Retry: ptr.To[int32](1),
		BackoffPolicy: ptr.To(eventingduckv1.BackoffPolicyLinear), BackoffDelay: ptr.To("PT0.001S"),
	}
}

// post sends a request to the Broker, and returns its answer.
func (r *rig) post(request *http.Request) (code int, header http.Header) {
	r.Helper()
	request.URL.Host = strings.TrimPrefix(r.url, "http://")
	resp, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		r.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode, resp.Header
}

// TestIngress is about what a Broker answers to who sends.
func TestIngress(t *testing.T) {
	to := func(method, path, contentType, body string) *http.Request {
		r := request(good())
		r.Method, r.URL.Path = method, path
		if contentType != "" {
			r.Header = http.Header{"Content-Type": {contentType}}
			r.Body = http.NoBody
			if body != "" {
				r.Body, r.ContentLength = httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)).Body, int64(len(body))
			}
		}
		return r
	}
	const here, structured = "/ns/default", `{"specversion": "1.0", "id": "1", "source": "/test", "type": "t", "subject": "s", "extra": "e", "data": {"a":1}}`
	cases := map[string]struct {
		rule    string
		request *http.Request
		code    int
	}{
		"Binary":     {`data plane: "All senders and recipients MUST support the [...] binary [...] content mode"`, to("POST", here, "", ""), 202},
		"Structured": {`data plane: "and structured content modes of the CloudEvents HTTP binding"`, to("POST", here, "application/cloudevents+json", structured), 202},
		"Batched":    {`data plane: batches are in no rule; delivery: "400 Unparsable event"`, to("POST", here, "application/cloudevents-batch+json", "["+structured+"]"), 400},
		"Options":    {`data plane: "if implemented, the recipient MUST indicate support for the POST verb using the Allow header"`, to("OPTIONS", here, "", ""), 200},
		"Get":        {`data plane: "the sender MUST initiate delivery [...] using the HTTP POST verb"`, to("GET", here, "", ""), 405},
		"NoEvent":    {`delivery: "400 Unparsable event"`, to("POST", here, "application/json", "{}"), 400},
		"Nobody":     {`delivery: "404 Endpoint does not exist"`, to("POST", "/ns/other", "", ""), 404},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			asked := &subscriber{}
			r := newRig(t, nil, map[string]trigger{"any": {subscriber: asked}}, nil)
			code, header := r.post(tc.request)
			if code != tc.code {
				t.Errorf("%s\nwant %d, got %d", tc.rule, tc.code, code)
			}
			if name == "Options" && !strings.Contains(header.Get("Allow"), "POST") {
				t.Errorf("%s\ngot %q", tc.rule, header.Get("Allow"))
			}
			got := asked.requests()
			if (len(got) == 1) != (tc.code == 202) {
				t.Fatalf("%s\nit came %d times", tc.rule, len(got))
			}
			if len(got) == 1 {
				checkDelivered(t, got[0])
			}
		})
	}
}

// checkDelivered checks that the event came as it was sent, in binary mode.
func checkDelivered(t *testing.T, got received) {
	t.Helper()
	if got.err != nil {
		t.Fatal(got.err)
	}
	want := good()
	if got.event.ID() != want.ID() || got.event.Type() != want.Type() || got.event.Source() != want.Source() || got.event.Subject() != "s" ||
		got.event.Extensions()["extra"] != "e" || !bytes.Equal(bytes.TrimSpace(got.event.Data()), want.Data()) {
		t.Errorf("want %s, got %s", want, got.event)
	}
	if _, ok := got.event.Extensions()["knativebrokerttl"]; ok {
		t.Error("how often it may go through a Broker is the Broker's own affair")
	}
	// "Brokers and Channels MUST indicate support for replies using the Prefer: reply header".
	if got.header.Get("Prefer") != "reply" {
		t.Errorf("reply: want Prefer: reply, got %v", got.header)
	}
}

// TestDelivery is the table of answers of the section on delivery: what is delivered, tried again, or a dead letter.
func TestDelivery(t *testing.T) {
	const none, retry, letter = 1, 2, true
	cases := map[int]struct {
		rule       string
		deliveries int
		letter     bool
	}{
		200: {`"200": no retry, completed`, none, false},
		202: {`"202 Event accepted": no retry, completed`, none, false},
		204: {`"other 2xx": no retry, completed`, none, false},
		299: {`"other 2xx": no retry, completed`, none, false},
		302: {`"3xx": no retry, not completed`, none, letter},
		400: {`"400 Unparsable event": no retry, not completed`, none, letter},
		401: {`"other 4xx": no retry, not completed`, none, letter},
		404: {`"404 Endpoint does not exist": retry`, retry, letter},
		408: {`"other 4xx": no retry; Knative's own dispatcher tries again (kncloudevents.SelectiveRetry), which is the use of 408 (RFC 9110)`, retry, letter},
		409: {`"409 Conflict / Processing in progress": retry`, retry, letter},
		413: {`"other 4xx": no retry, not completed`, none, letter},
		422: {`"other 4xx": no retry, not completed`, none, letter},
		429: {`"429 Too Many Requests / Overloaded": retry`, retry, letter},
		500: {`"5xx": retry`, retry, letter},
		503: {`"5xx": retry`, retry, letter},
		599: {`"5xx": retry`, retry, letter},
	}
	for code, tc := range cases {
		t.Run(http.StatusText(code), func(t *testing.T) {
			asked, letters := &subscriber{answer: func(w http.ResponseWriter, _ int) { w.WriteHeader(code) }}, &subscriber{}
			r := newRig(t, once(), map[string]trigger{"any": {subscriber: asked}}, map[string]*subscriber{"letters": letters})
			if got, _ := r.post(request(good())); got != http.StatusAccepted {
				t.Errorf("what is delivered or a dead letter is dealt with, got %d", got)
			}
			if n, m := len(asked.requests()), len(letters.requests()); n != tc.deliveries || (m == 1) != tc.letter {
				t.Errorf("%d: %s\ngot %d deliveries and %d dead letters", code, tc.rule, n, m)
			}
		})
	}
}

// TestRetry is about an event that is taken in the end.
func TestRetry(t *testing.T) {
	asked, letters := &subscriber{answer: func(w http.ResponseWriter, n int) { w.WriteHeader([]int{503, 200}[n-1]) }}, &subscriber{}
	r := newRig(t, once(), map[string]trigger{"any": {subscriber: asked}}, map[string]*subscriber{"letters": letters})
	code, _ := r.post(request(good()))
	got := asked.requests()
	if code != http.StatusAccepted || len(got) != 2 || len(letters.requests()) != 0 {
		t.Fatalf(`"Brokers [...] MUST implement retries": got %d, %d deliveries, %d dead letters`, code, len(got), len(letters.requests()))
	}
	for _, g := range got {
		checkDelivered(t, g) // "event recipients MUST use the source and id attributes to identify duplicate events".
	}
}

// TestDeadLetter is about what a dead letter says.
func TestDeadLetter(t *testing.T) {
	asked, letters := &subscriber{answer: func(w http.ResponseWriter, _ int) { http.Error(w, "no", http.StatusUnprocessableEntity) }}, &subscriber{}
	r := newRig(t, nil, map[string]trigger{"any": {subscriber: asked, delivery: once()}}, map[string]*subscriber{"letters": letters})
	r.post(request(good()))
	got := letters.requests()
	if len(got) != 1 {
		t.Fatalf("a Trigger's own delivery counts: got %d dead letters", len(got))
	}
	extensions := got[0].event.Extensions()
	want := map[string]any{"extra": "e", "knativeerrorcode": "422", "knativeerrordest": "http://" + host("any"), "knativeerrordata": base64.StdEncoding.EncodeToString([]byte("no\n"))}
	for name, value := range want {
		if diff := cmp.Diff(value, extensions[name]); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
	if !bytes.Equal(got[0].event.Data(), good().Data()) {
		t.Errorf("the data is what it was, got %s", got[0].event)
	}
}

// reply writes an event of a type as the answer.
func reply(code int, eventType string) func(http.ResponseWriter, int) {
	return func(w http.ResponseWriter, _ int) {
		for name, value := range map[string]string{"ce-specversion": "1.0", "ce-id": "r", "ce-source": "/any", "ce-type": eventType, "ce-time": "2024-01-02T03:04:05Z", "Content-Type": "application/json"} {
			w.Header().Set(name, value)
		}
		w.WriteHeader(code)
		_, _ = w.Write([]byte(`{"b":2}`))
	}
}

// TestReply is about events in answers.
func TestReply(t *testing.T) {
	structured := func(w http.ResponseWriter, _ int) {
		w.Header().Set("Content-Type", cloudevents.ApplicationCloudEventsJSON)
		_, _ = w.Write([]byte(`{"specversion": "1.0", "id": "r", "source": "/any", "type": "reply", "time": "2024-01-02T03:04:05Z", "data": {"b":2}}`))
	}
	cases := map[string]struct {
		rule       string
		answer     func(http.ResponseWriter, int)
		deliveries int
		replies    int
	}{
		"Binary":     {`reply: "the caller will accept a 200 response which includes a CloudEvent encoded using the binary"`, reply(200, "reply"), 1, 1},
		"Structured": {`reply: "or structured formats"`, structured, 1, 1},
		"Empty":      {`reply: "A recipient MAY reply to any HTTP POST with a 200 response [...] with or without a response payload"`, func(w http.ResponseWriter, _ int) { w.WriteHeader(200) }, 1, 0},
		"NoEvent":    {`what is no event is an error in Knative's own filter (502), so it is tried again`, func(w http.ResponseWriter, _ int) { _, _ = w.Write([]byte("thanks")) }, 2, 0},
		"Accepted":   {`reply: "Responses with a 202 response code MUST NOT be processed as reply events"; Knative's own filter and dispatcher (0.50) do process them`, reply(202, "reply"), 1, 1},
		"Failed":     {`an answer that is no success has no reply`, reply(500, "reply"), 2, 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			asked, replies := &subscriber{answer: tc.answer}, &subscriber{}
			r := newRig(t, once(), map[string]trigger{"asked": {eventType: "t", subscriber: asked}, "replies": {eventType: "reply", subscriber: replies}},
				map[string]*subscriber{"letters": {}})
			r.post(request(good()))
			got := replies.requests()
			if n := len(asked.requests()); n != tc.deliveries || len(got) != tc.replies {
				t.Errorf("%s\ngot %d deliveries and %d replies", tc.rule, n, len(got))
			}
			if len(got) == 1 && (got[0].event.ID() != "r" || strings.TrimSpace(string(got[0].event.Data())) != `{"b":2}`) {
				t.Errorf("%s\ngot %s", tc.rule, got[0].event)
			}
		})
	}
}

// TestTTL is about replies that wake who has sent them. Knative's ingress counts for how many Brokers an event is still
// good (its MAX_TTL is 255), and takes one that is good for none no more.
func TestTTL(t *testing.T) {
	echo := &subscriber{answer: reply(200, "t")}
	r := newRig(t, &eventingduckv1.DeliverySpec{Retry: ptr.To[int32](0)}, map[string]trigger{"echo": {eventType: "t", subscriber: echo}}, nil)
	for ttl, want := range map[string]int{"4": 3, "1": 0, "0": 0, "-5": 0} {
		before := len(echo.requests())
		event := request(good())
		event.Header.Set("ce-knativebrokerttl", ttl)
		r.post(event)
		if got := len(echo.requests()) - before; got != want {
			t.Errorf("TTL %s: want %d deliveries, got %d", ttl, want, got)
		}
	}
}

// TestConformance runs the conformance suite of CloudEvents, with its listener as the subscriber.
func TestConformance(t *testing.T) {
	conformance.Run(t, func(t *testing.T, listener string) string {
		at, err := apis.ParseURL(listener)
		if err != nil {
			t.Fatal(err)
		}
		return newRig(t, nil, map[string]trigger{"any": {at: at}}, nil).url + "/ns/default"
	}, broker.EventArrivalTime)
}

// TestConformanceJSON takes and refuses what the suite's list for the JSON format says.
func TestConformanceJSON(t *testing.T) {
	r := newRig(t, nil, nil, nil)
	// What Knative's SDK takes although the specification does not, or the other way round.
	lenient := map[string]bool{"validMinimalWithNullForOptional": false, "invalidEmptySubject": true, "invalidEmptyDataSchema": true, "invalidNonRfc2046DataContentType": true,
		"invalidCapitalizedExtension": true}
	for id, c := range conformance.Cases() {
		want := c.Valid
		if taken, ok := lenient[id]; ok {
			want = taken
		}
		if taken := c.Post(t, r.url+"/ns/default"); taken != want {
			t.Errorf("%s: valid: %t, taken: %t", id, c.Valid, taken)
		}
	}
}
