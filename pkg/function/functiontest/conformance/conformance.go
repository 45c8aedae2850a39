// Package conformance has the cases of the conformance suite of CloudEvents (github.com/cloudevents/conformance) for the
// tests of programs that take events: its events (yaml/v1.0, yaml/v1.yaml), its scenarios of the HTTP binding
// (features/http-protocol-binding.feature) and its list of what the JSON format takes and refuses (format/json). They are
// written here from the specification. The suite is no dependency: its module would add some hundred others to go.sum, and
// its invoker knows neither text in structured mode nor what came of an event.
package conformance

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
)

// Event is one that is sent.
type Event struct {
	// Attributes are all of them, datacontenttype too.
	Attributes map[string]string
	Data       string
	structured bool
	// as is the content type of the envelope.
	as string
}

// Events are to be sent, and to come as they are.
func Events() []Event {
	var all []Event
	add := func(data string, attributes map[string]string) {
		a := map[string]string{"specversion": "1.0", "type": "io.cloudevents.minimum", "id": "conformance", "source": "//example.com/yaml/v1.yaml"}
		maps.Copy(a, attributes)
		all = append(all, Event{Attributes: a, Data: data}, Event{a, data, true, "application/cloudevents+json"}, Event{a, data, true, "application/cloudevents+json; charset=utf-8"})
	}
	of := func(contentType string) map[string]string { return map[string]string{"datacontenttype": contentType} }
	add("Hello, World!", of("text/plain; charset=us-ascii"))
	add("Hello, 🌎!", of("text/plain; charset=utf-8"))
	add(`"Hello, 🌎!"`, of("application/json; charset=utf-8"))
	add(`{"msg":"Hello, 🌎!"}`, of("application/json; charset=utf-8"))
	add(`["Hello","🌎!"]`, of("application/json"))
	add("<msg>Hello, 🌎!</msg>", of("application/xml; charset=utf-8"))
	add("{\n    \"message\": \"Hello World!\"\n}", map[string]string{"datacontenttype": "application/json", "source": "/mycontext/subcontext", "subject": "s", "time": "2018-04-05T03:56:24Z", "dataschema": "https://example.com/schema",
		"comexampleextension1": "value", "comexampleextension2": `{"othervalue": 5}`})
	add("", nil)
	return all
}

// Request sends the event.
func (e Event) Request(t *testing.T, to string) *http.Request {
	t.Helper()
	body := e.Data
	if e.structured {
		envelope := map[string]any{}
		for name, value := range e.Attributes {
			envelope[name] = value
		}
		switch {
		case strings.Contains(e.Attributes["datacontenttype"], "json"):
			envelope["data"] = json.RawMessage(e.Data)
		case e.Data != "":
			envelope["data"] = e.Data
		}
		raw, err := json.Marshal(envelope)
		if err != nil {
			t.Fatal(err)
		}
		body = string(raw)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, to, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if e.structured {
		r.Header.Set("Content-Type", e.as)
		return r
	}
	for name, value := range e.Attributes {
		if name == "datacontenttype" {
			r.Header.Set("Content-Type", value)
			continue
		}
		r.Header.Set("ce-"+name, value)
	}
	return r
}

// Send sends the event. The answer has to be 2xx.
func (e Event) Send(t *testing.T, to string) {
	t.Helper()
	resp, err := http.DefaultClient.Do(e.Request(t, to))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		t.Errorf("want 2xx, got %s for %+v", resp.Status, e)
	}
}

// Check checks that this is the event that came.
func (e Event) Check(t *testing.T, got cloudevents.Event) {
	t.Helper()
	for name, want := range e.Attributes {
		has := map[string]func() string{"specversion": got.SpecVersion, "id": got.ID, "type": got.Type, "source": got.Source, "subject": got.Subject, "datacontenttype": got.DataContentType, "dataschema": got.DataSchema,
			"time": func() string { return got.Time().UTC().Format("2006-01-02T15:04:05Z07:00") }}[name]
		value := ""
		if has != nil {
			value = has()
		} else if err := got.ExtensionAs(name, &value); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if value != want {
			t.Errorf("%s: sent %q, got %q", name, want, value)
		}
	}
	if data := string(got.Data()); data != e.Data && !sameJSON(data, e.Data) {
		t.Errorf("data: sent %q, got %q", e.Data, data)
	}
}

// sameJSON compares what may have other white space in an envelope.
func sameJSON(a, b string) bool {
	compact := func(s string) string {
		raw, err := json.Marshal(json.RawMessage(s))
		if err != nil {
			return s
		}
		return string(raw)
	}
	return compact(a) == compact(b)
}

// Case is an event of the JSON format.
type Case struct {
	// Event in the format.
	Event string
	// Valid events are taken.
	Valid bool
}

// Post sends the event, and reports whether it was taken: the answer is 2xx, or 400.
func (c Case) Post(t *testing.T, to string) (taken bool) {
	t.Helper()
	resp, err := http.Post(to, "application/cloudevents+json", strings.NewReader(c.Event))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if taken = resp.StatusCode/100 == 2; !taken && resp.StatusCode != http.StatusBadRequest {
		t.Errorf("want 2xx or 400, got %d", resp.StatusCode)
	}
	return taken
}

// Cases are those of the suite's list for the JSON format (format/json), by their ids there.
func Cases() map[string]Case {
	with := func(members string) string {
		required := `"specversion": "1.0", "id": "1", "type": "t", "source": "https://example.com"`
		for name := range strings.FieldsSeq("specversion id type source") {
			if strings.Contains(members, `"`+name+`":`) {
				before, after, _ := strings.Cut(required, `"`+name+`"`)
				_, after, _ = strings.Cut(after, ", ")
				required = strings.TrimSuffix(before+after, ", ")
			}
		}
		if members == "" {
			return "{" + required + "}"
		}
		return "{" + required + ", " + members + "}"
	}
	without := func(name string) string {
		return strings.Replace(with(`"`+name+`": 0`), `, "`+name+`": 0`, "", 1)
	}
	cases := map[string]Case{}
	for id, members := range map[string]string{
		"validMinimal":                            ``,
		"validMinimalWithNullForOptional":         `"datacontenttype": null, "dataschema": null, "subject": null, "time": null`,
		"validAllCoreAttributes":                  `"datacontenttype": "text/plain", "dataschema": "https://example.com/schema", "subject": "s", "time": "2024-01-02T03:04:05Z"`,
		"validMinimalWithTimeUtc":                 `"time": "2024-01-02T03:04:05Z"`,
		"validMinimalWithTimeToNanosecondsUtc":    `"time": "2024-01-02T03:04:05.000000000Z"`,
		"validMinimalWithTimeUsingPositiveOffset": `"time": "2024-01-02T04:04:05+01:00"`,
		"validMinimalWithTimeUsingNegativeOffset": `"time": "2024-01-02T02:04:05-01:00"`,
		"validRelativeSource":                     `"source": "#fragment"`,
		"validSimpleTextData":                     `"datacontenttype": "text/plain", "data": "text"`,
		"validAllExtensionTypes":                  `"i": 10, "b": true, "s": "text", "u": "https://example.com", "r": "//a/p", "t": "2024-01-02T03:04:05Z", "x": "TWE="`,
	} {
		cases[id] = Case{with(members), true}
	}
	for id, members := range map[string]string{
		"invalidTimeGarbage":               `"time": "lunchtime"`,
		"invalidTimeToMinute":              `"time": "2024-01-02T03:04Z"`,
		"invalidTimeOffsetX":               `"time": "2024-01-02T03:04:05X"`,
		"invalidTimeOffsetOutOfRange":      `"time": "2024-01-02T03:04:05+25:00"`,
		"invalidTimeOffsetNonInteger":      `"time": "2024-01-02T03:04:05+xx:00"`,
		"invalidTimeOffsetHourOnly":        `"time": "2024-01-02T03:04:05+05"`,
		"invalidEmptyId":                   `"id": ""`,
		"invalidEmptyType":                 `"type": ""`,
		"invalidEmptySource":               `"source": ""`,
		"invalidEmptySpecVersion":          `"specversion": ""`,
		"invalidUnknownSpecVersion":        `"specversion": "0.9"`,
		"invalidNonRfc2046DataContentType": `"datacontenttype": "xyz"`,
		"invalidEmptyDataContentType":      `"datacontenttype": ""`,
		"invalidEmptyDataSchema":           `"dataschema": ""`,
		"invalidEmptySubject":              `"subject": ""`,
		"invalidNumericId":                 `"id": 25`,
		"invalidObjectId":                  `"id": {"a": "b"}`,
		"invalidCapitalizedExtension":      `"MyExtension": "bad"`,
		"invalidPunctuatedExtension":       `"my.extension": "bad"`,
		"invalidNonIntegerExtensionValue":  `"my.extension": 1.5`,
		"invalidBothDataAndDataBase64":     `"data": "text", "data_base64": "YQ=="`,
	} {
		cases[id] = Case{with(members), false}
	}
	for id, name := range map[string]string{"invalidNoSpecVersion": "specversion", "invalidNoId": "id", "invalidNoType": "type", "invalidNoSource": "source"} {
		cases[id] = Case{without(name), false}
	}
	return cases
}
