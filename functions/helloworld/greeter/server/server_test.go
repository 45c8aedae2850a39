package server_test

import (
	cmpor "cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/greetertest"
)

type answer struct {
	Status int
	Header http.Header
	Body   string
}

func (a answer) reason(t *testing.T) string {
	t.Helper()
	if ct := a.Header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("an error is JSON: got Content-Type %q", ct)
	}
	var e struct{ Error string }
	if err := json.Unmarshal([]byte(a.Body), &e); err != nil {
		t.Errorf("an error is JSON: %v in %q", err, a.Body)
	}
	return e.Error
}

func do(t testing.TB, method, url, contentType, body string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{Status: resp.StatusCode, Header: resp.Header, Body: string(raw)}
}

const appJSON = "application/json"

func TestRefused(t *testing.T) {
	long := strings.Repeat("ä", api.MaxText+1)
	tests := map[string]struct {
		reason      string
		method      string
		path        string
		contentType string
		body        string
		wantStatus  int
		want        string
	}{
		"UnknownPath":        {"", "GET", "/nothing", "", "", 404, "path: expected /greetings"},
		"NoID":               {"", "GET", "/greetings/", "", "", 404, "path: expected /greetings"},
		"NoGreeting":         {"", "GET", "/greetings/a", "", "", 404, "no such greeting"},
		"Method":             {"", "PATCH", "/greetings", "", "", 405, "method: expected GET, POST, got PATCH"},
		"MethodOfOne":        {"", "POST", "/greetings/a", appJSON, "{}", 405, "method: expected DELETE, GET, PUT, got POST"},
		"IDChars":            {"an id becomes a path", "PUT", "/greetings/a%2Fb", appJSON, `{"name":"n","hello_to":"t"}`, 400, "id: expected 1 to 128"},
		"IDLong":             {"", "PUT", "/greetings/" + strings.Repeat("a", 129), appJSON, `{"name":"n","hello_to":"t"}`, 400, "id: expected 1 to 128"},
		"IDOnGet":            {"", "GET", "/greetings/a%20b", "", "", 400, "id: expected 1 to 128"},
		"IDOnDelete":         {"", "DELETE", "/greetings/%00", "", "", 400, "id: expected 1 to 128"},
		"NoContentType":      {"", "POST", "/greetings", "", `{"name":"n","hello_to":"t"}`, 415, "Content-Type: expected application/json"},
		"Form":               {"curl -d without a header", "POST", "/greetings", "application/x-www-form-urlencoded", `{"name":"n","hello_to":"t"}`, 415, `got "application/x-www-form-urlencoded"`},
		"Empty":              {"", "POST", "/greetings", appJSON, "", 400, "body: expected a JSON object, got nothing"},
		"Syntax":             {"", "POST", "/greetings", appJSON, `{"name":`, 400, "body: expected a JSON object: unexpected end"},
		"Trailing":           {"", "POST", "/greetings", appJSON, `{"name":"n","hello_to":"t"}{}`, 400, "after top-level value"},
		"Array":              {"", "POST", "/greetings", appJSON, `[]`, 400, "body: expected an object, got array"},
		"Null":               {"", "POST", "/greetings", appJSON, `null`, 400, "name: required"},
		"Surrogate":          {"", "POST", "/greetings", appJSON, `{"name":"s","hello_to":"\ud800"}`, 400, "body.hello_to: expected text in Unicode, got half of a surrogate pair"},
		"NotUTF8":            {"", "POST", "/greetings", appJSON, "{\"name\":\"\xff\",\"hello_to\":\"t\"}", 400, "body: expected JSON in UTF-8"},
		"UnknownField":       {"", "POST", "/greetings", appJSON, `{"name":"n","hello_to":"t","hello_form":"f"}`, 400, `unknown field "hello_form"`},
		"Case":               {"names are case-sensitive", "POST", "/greetings", appJSON, `{"Name":"n","hello_to":"t"}`, 400, `unknown field "Name"`},
		"Duplicate":          {"which of the two is meant?", "POST", "/greetings", appJSON, `{"name":"n","name":"m","hello_to":"t"}`, 400, `duplicate field "name"`},
		"Type":               {"", "POST", "/greetings", appJSON, `{"name":1,"hello_to":"t"}`, 400, "name: expected a string, got number"},
		"MissingBoth":        {"the reason names all that is wrong", "POST", "/greetings", appJSON, `{}`, 400, "name: required, expected 1 to 253 characters; hello_to: required, expected 1 to 253 characters"},
		"TooLong":            {"", "POST", "/greetings", appJSON, fmt.Sprintf(`{"name":"n","hello_to":%q}`, long), 400, "hello_to: expected at most 253 characters, got 254"},
		"TooLarge":           {"", "POST", "/greetings", appJSON, `{"name":"` + strings.Repeat("a", api.MaxBody) + `"}`, 413, "body: expected at most 65536 bytes"},
		"PutTooLarge":        {"", "PUT", "/greetings/a", appJSON, strings.Repeat(" ", api.MaxBody+1), 413, "body: expected at most 65536 bytes"},
		"PutUnknownField":    {"only the greeter writes the message", "PUT", "/greetings/a", appJSON, `{"name":"n","hello_to":"t","message":"m"}`, 400, `unknown field "message"`},
		"PutNoModel":         {"a generation of what?", "PUT", "/greetings/a", appJSON, `{"name":"n","hello_to":"t","generation":1}`, 400, "model: expected with generation"},
		"PutNoGeneration":    {"an older write could replace a newer one", "PUT", "/greetings/a", appJSON, `{"name":"n","hello_from":"f","hello_to":"t","model":{"namespace":"a","name":"b","uid":"c"}}`, 400, "generation: expected 1 or more"},
		"PutNegative":        {"", "PUT", "/greetings/a", appJSON, `{"name":"n","hello_from":"f","hello_to":"t","generation":-1,"model":{"namespace":"a","name":"b","uid":"c"}}`, 400, "generation: expected 1 or more with model, got -1"},
		"PutFraction":        {"", "PUT", "/greetings/a", appJSON, `{"name":"n","hello_to":"t","generation":1.5}`, 400, "generation: expected a whole number, got number 1.5"},
		"PutModelIncomplete": {"", "PUT", "/greetings/a", appJSON, `{"name":"n","hello_to":"t","generation":1,"model":{"name":"b"}}`, 400, "hello_from: required, expected 1 to 253 characters; model.namespace: required"},
		"PutModelUnknown":    {"", "PUT", "/greetings/a", appJSON, `{"name":"n","hello_to":"t","model":{"kind":"b"}}`, 400, `unknown field "model.kind"`},
		"PutVersionAlone":    {"whose service?", "PUT", "/greetings/a", appJSON, `{"name":"n","hello_to":"t","hello_from_version":{"uid":"u","generation":1}}`, 400, "hello_from_version: expected only with model"},
		"PutVersionZero":     {"", "PUT", "/greetings/a", appJSON, `{"name":"n","hello_from":"f","hello_to":"t","generation":1,"model":{"namespace":"a","name":"b","uid":"c"},"hello_from_version":{"uid":"u"}}`, 400, "hello_from_version.generation: expected 1 or more, got 0"},
		"PutVersionOfNobody": {"", "PUT", "/greetings/a", appJSON, `{"name":"n","hello_from":"f","hello_to":"t","generation":1,"model":{"namespace":"a","name":"b","uid":"c"},"hello_from_version":{"generation":1}}`, 400, "hello_from_version.uid: required"},
		"PutQuery":           {"", "PUT", "/greetings/a?generation=3", appJSON, `{"name":"n","hello_to":"t"}`, 400, `query parameter "generation": unknown, expected none`},
		"DeleteMisspelled":   {"without its generation a deletion is unconditional", "DELETE", "/greetings/a?generatoin=3", "", "", 400, `query parameter "generatoin": unknown, expected generation`},
		"DeleteZero":         {"", "DELETE", "/greetings/a?generation=0", "", "", 400, "generation: expected a whole number of 1 or more"},
		"DeleteEmpty":        {"", "DELETE", "/greetings/a?generation=", "", "", 400, "generation: expected a whole number of 1 or more"},
		"DeleteTwice":        {"", "DELETE", "/greetings/a?generation=1&generation=2", "", "", 400, "generation: expected once, got 2 times"},
		"ListLimit":          {"", "GET", "/greetings?limit=1001", "", "", 400, "limit: expected a whole number from 1 to 1000"},
		"ListLimitZero":      {"", "GET", "/greetings?limit=0", "", "", 400, "limit: expected a whole number from 1 to 1000"},
		"ListManaged":        {"", "GET", "/greetings?managed=yes", "", "", 400, `managed: expected true or false, got "yes"`},
		"ListContinue":       {"", "GET", "/greetings?continue=abc", "", "", 400, "continue: expected what the page before answered"},
		"ListQuery":          {"", "GET", "/greetings?%zz", "", "", 400, "query: invalid URL escape"},
		"GetQuery":           {"", "GET", "/greetings/a?x=1", "", "", 400, `query parameter "x": unknown`},
		"OutboxQuery":        {"", "GET", "/outbox?x=1", "", "", 400, `query parameter "x": unknown`},
	}
	g := greetertest.Start(t)
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := do(t, tc.method, g.URL+tc.path, tc.contentType, tc.body)
			if reason := got.reason(t); got.Status != tc.wantStatus || !strings.Contains(reason, tc.want) {
				t.Errorf("%s: got %d %q, want %d and %q in it", tc.reason, got.Status, reason, tc.wantStatus, tc.want)
			}
		})
	}
	if page, err := g.Client.List(t.Context(), listAll); err != nil || len(page.Items) != 0 {
		t.Errorf("what is refused is not stored: got %v, %v", page, err)
	}
}

func TestFrontDoor(t *testing.T) {
	g := greetertest.Start(t)
	const body = `{"name":"n","hello_from":"Jhon Snow","hello_to":"Daenerys Targaryen","generation":2,"model":{"namespace":"ns","name":"m","uid":"u"}}`
	steps := []struct {
		reason     string
		method     string
		path       string
		body       string
		wantStatus int
		want       string
	}{
		{"a new greeting", "PUT", "/greetings/u", body, 201, `"message":"Jhon Snow is saying hello to Daenerys Targaryen"`},
		{"the same again", "PUT", "/greetings/u", body, 200, `"generation":2`},
		{"an older generation", "PUT", "/greetings/u", strings.Replace(body, `"generation":2`, `"generation":1`, 1), 409, `generation: 1 is older than 2`},
		{"it can be read", "GET", "/greetings/u", "", 200, `"model":{"namespace":"ns","name":"m","uid":"u"}`},
		{"its header too", "HEAD", "/greetings/u", "", 200, ``},
		{"an older deletion", "DELETE", "/greetings/u?generation=1", "", 409, `generation: 1 is older than 2`},
		{"it is deleted", "DELETE", "/greetings/u?generation=3", "", 204, ""},
		{"again", "DELETE", "/greetings/u?generation=3", "", 204, ""},
		{"again, without a generation", "DELETE", "/greetings/u", "", 204, ""},
		{"it is gone", "GET", "/greetings/u", "", 404, "no such greeting"},
		{"a late write", "PUT", "/greetings/u", body, 409, "generation: 2 is not newer than 3, with which the greeting was deleted"},
		{"an empty list is a list", "GET", "/greetings", "", 200, `{"items":[]}`},
		{"a greeting of the greeter's own that nobody requested", "PUT", "/greetings/pulled", `{"name":"Pulled Record","hello_to":"Dude"}`, 201, `"name":"Pulled Record"`},
		{"is not published", "GET", "/outbox", "", 200, `{"pending":0}`},
	}
	for _, step := range steps {
		got := do(t, step.method, g.URL+step.path, appJSON+"; charset=utf-8", step.body)
		if got.Status != step.wantStatus || !strings.Contains(got.Body, step.want) {
			t.Errorf("%s: got %d %s, want %d and %q in it", step.reason, got.Status, got.Body, step.wantStatus, step.want)
		}
	}
}

// TestIfMatch overwrites newer generations, after a restore of the models.
func TestIfMatch(t *testing.T) {
	g := greetertest.Start(t)
	body := func(generation int) string {
		return fmt.Sprintf(`{"name":"n","hello_from":"f","hello_to":"%d","generation":%d,"model":{"namespace":"ns","name":"m","uid":"u"}}`, generation, generation)
	}
	tag := ""
	steps := []struct {
		reason       string
		method, path string
		body         string
		match        string // The If-Match of the request; TAG is the ETag of the last answer that had one.
		want         int
	}{
		{"a greeting", "PUT", "/greetings/u", body(5), "", 201},
		{"an older write is refused", "PUT", "/greetings/u", body(2), "", 409},
		{"it may replace what has refused it", "PUT", "/greetings/u", body(2), "TAG", 200},
		{"once", "PUT", "/greetings/u", body(1), "TAG", 412},
		{"the next generation needs no tag", "PUT", "/greetings/u", body(3), "", 200},
		{"an older deletion is refused", "DELETE", "/greetings/u?generation=2", "", "", 409},
		{"somebody else writes", "PUT", "/greetings/u", body(4), "", 200},
		{"the tag is too old then", "DELETE", "/greetings/u?generation=2", "", "TAG", 412},
		{"refused again", "DELETE", "/greetings/u?generation=2", "", "", 409},
		{"it may delete what has refused it", "DELETE", "/greetings/u?generation=2", "", "TAG", 204},
		{"late writes of what was deleted are still refused", "PUT", "/greetings/u", body(4), "", 409},
		{"a write may replace a tombstone", "PUT", "/greetings/u", body(2), "TAG", 201},
		{"but not a tombstone that is gone", "PUT", "/greetings/u", body(2), "TAG", 412},
		{"a tag is quoted", "PUT", "/greetings/u", body(2), "abc", 400},
		{"nobody replaces just anything", "PUT", "/greetings/u", body(2), "*", 400},
	}
	for _, step := range steps {
		req, err := http.NewRequestWithContext(t.Context(), step.method, g.URL+step.path, strings.NewReader(step.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", appJSON)
		if step.match != "" {
			req.Header.Set("If-Match", strings.ReplaceAll(step.match, "TAG", tag))
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != step.want || (resp.Header.Get("ETag") != "") != (step.want == 409) {
			t.Errorf("%s: got %d with ETag %q, want %d", step.reason, resp.StatusCode, resp.Header.Get("ETag"), step.want)
		}
		tag = cmpor.Or(resp.Header.Get("ETag"), tag)
	}
}

func TestPost(t *testing.T) {
	g := greetertest.Start(t, greetertest.WithOutboxLimit(1))
	got := do(t, "POST", g.URL+"/greetings", appJSON, `{"name":"Ω","hello_to":"Arya"}`)
	posted := api.Greeting{}
	if err := json.Unmarshal([]byte(got.Body), &posted); err != nil || got.Status != 201 {
		t.Fatalf("got %d %s", got.Status, got.Body)
	}
	want := api.Greeting{Name: "Ω", HelloTo: "Arya", Message: "The greeter is saying hello to Arya", Requested: true}
	if diff := cmp.Diff(want, posted, cmpopts.IgnoreFields(api.Greeting{}, "ID", "CreatedAt", "UpdatedAt")); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}
	if want := "/greetings/" + posted.ID; got.Header.Get("Location") != want {
		t.Errorf("Location: got %q, want %q", got.Header.Get("Location"), want)
	}
	if found := do(t, "GET", g.URL+got.Header.Get("Location"), "", ""); found.Status != 200 || found.Body != got.Body {
		t.Errorf("it is found at its Location: got %d %s, want %s", found.Status, found.Body, got.Body)
	}
	changed := do(t, "PUT", g.URL+"/greetings/"+posted.ID, appJSON, `{"name":"n","hello_to":"Bran"}`)
	if changed.Status != 200 || !strings.Contains(changed.Body, `"requested":true`) {
		t.Errorf("after a change it is still requested: got %d %s", changed.Status, changed.Body)
	}
	if other := do(t, "PUT", g.URL+"/greetings/other", appJSON, `{"name":"n","hello_to":"Bran"}`); strings.Contains(other.Body, "requested") {
		t.Errorf("what was not posted is not requested: got %s", other.Body)
	}

	status := api.OutboxStatus{}
	if err := json.Unmarshal([]byte(do(t, "GET", g.URL+"/outbox", "", "").Body), &status); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(api.OutboxStatus{Pending: 1, Oldest: &posted.CreatedAt}, status); diff != "" {
		t.Errorf("it waits to be published: -want, +got:\n%s", diff)
	}

	full := do(t, "POST", g.URL+"/greetings", appJSON, `{"name":"n","hello_to":"t"}`)
	if full.Status != 503 || full.Header.Get("Retry-After") == "" || !strings.Contains(full.reason(t), "too many greetings wait") {
		t.Errorf("if the outbox is full a greeting is refused, not dropped: got %d %s", full.Status, full.Body)
	}
}

func TestStoreInTrouble(t *testing.T) {
	g := greetertest.Start(t)
	if err := g.Store.Close(); err != nil {
		t.Fatal(err)
	}
	for _, call := range []struct{ method, path, body string }{
		{"GET", "/greetings", ""}, {"GET", "/greetings/a", ""}, {"DELETE", "/greetings/a", ""}, {"GET", "/outbox", ""},
		{"PUT", "/greetings/a", `{"name":"n","hello_to":"t"}`}, {"POST", "/greetings", `{"name":"n","hello_to":"t"}`},
	} {
		got := do(t, call.method, g.URL+call.path, appJSON, call.body)
		if got.Status != 503 || got.reason(t) != "the store is in trouble, try again later" {
			t.Errorf("%s %s: got %d %s", call.method, call.path, got.Status, got.Body)
		}
	}
}

func TestConcurrentWriters(t *testing.T) {
	const writers, generations = 8, 40
	g := greetertest.Start(t)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := range generations {
				generation := int64((n*7+w*5)%generations + 1)
				got := do(t, "PUT", g.URL+"/greetings/u", appJSON, fmt.Sprintf(
					`{"name":"n","hello_from":"f","hello_to":"%d","generation":%d,"model":{"namespace":"ns","name":"m","uid":"u"}}`, generation, generation))
				if got.Status != 200 && got.Status != 201 && got.Status != 409 {
					t.Errorf("got %d %s", got.Status, got.Body)
				}
			}
		})
	}
	wg.Wait()
	got, err := g.Client.Get(t.Context(), "u")
	if err != nil || got.Generation != generations || got.HelloTo != fmt.Sprint(generations) {
		t.Errorf("in any order the newest generation stays: got %+v, %v", got, err)
	}
}
