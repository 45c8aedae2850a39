package functiontest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	cloudevents "github.com/cloudevents/sdk-go/v2"
)

// EventProgram says how a program that takes events answers what is not wrong for all of them.
type EventProgram struct {
	// Code answers a good event. Default: 200.
	Code int
	// BadData answers an event whose data is not as it should be. Default: 422.
	BadData int
	// Lenient: what a Broker lets pass is taken, see [function.WithLeniency].
	Lenient bool
	// MaxBody is as in [Program]. Default: 1 MiB.
	MaxBody int64
	// Method answers a method other than POST. Default: 405.
	Method int
}

// Request makes a request of an event in binary mode.
func Request(path string, event cloudevents.Event) *http.Request {
	r, err := cloudevents.NewHTTPRequestFromEvent(context.Background(), "http://x"+path, event)
	if err != nil {
		panic(err) // The test's own event is not one.
	}
	return r
}

// EventRows are what can be wrong with an event. The good request is an event in binary mode with data of
// JSON, or of text.
func EventRows(p EventProgram) map[string]Row {
	p = p.withDefaults()
	rows := map[string]Row{}
	maps.Copy(rows, p.binary())
	maps.Copy(rows, p.structured())
	maps.Copy(rows, p.data())
	return rows
}

func (p EventProgram) withDefaults() EventProgram {
	set := func(field *int, code int) {
		if *field == 0 {
			*field = code
		}
	}
	set(&p.Code, http.StatusOK)
	set(&p.BadData, http.StatusUnprocessableEntity)
	set(&p.Method, http.StatusMethodNotAllowed)
	if p.MaxBody == 0 {
		p.MaxBody = 1 << 20
	}
	return p
}

// unless is the answer to what only a lenient program takes.
func (p EventProgram) unless(code int) int {
	if p.Lenient {
		return p.Code
	}
	return code
}

func method(name string) func(*http.Request) { return func(r *http.Request) { r.Method = name } }

func set(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func add(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header[http.CanonicalHeaderKey(name)] = append(r.Header.Values(name), value) }
}

func without(name string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Del(name) }
}

// plain takes all attributes away.
func plain(r *http.Request) {
	for name := range attributesOf(r) {
		r.Header.Del("ce-" + name)
	}
}

func attributesOf(r *http.Request) map[string]string {
	attributes := map[string]string{}
	for name := range r.Header {
		if attribute, ok := strings.CutPrefix(strings.ToLower(name), "ce-"); ok {
			attributes[attribute] = r.Header.Get(name)
		}
	}
	return attributes
}

func (p EventProgram) binary() map[string]Row {
	return map[string]Row{
		"Get":            {"An event is posted.", method("GET"), p.Method, nil},
		"Put":            {"Nothing is put.", method("PUT"), p.Method, nil},
		"NoSuchMethod":   {"There are no other methods.", method("BREW"), p.Method, nil},
		"Plain":          {"Without attributes it is no event; the answer says what is expected.", plain, 400, []string{"not a CloudEvent", "ce-specversion", "ce-id", "application/cloudevents+json"}},
		"NoID":           {"An event has an id.", without("ce-id"), 400, []string{"id"}},
		"NoType":         {"And a type.", without("ce-type"), 400, []string{"type"}},
		"NoSource":       {"And a source.", without("ce-source"), 400, []string{"source"}},
		"NoVersion":      {"And a version.", without("ce-specversion"), 400, []string{"ce-specversion"}},
		"OtherVersion":   {"No other version is known.", set("ce-specversion", "7"), 400, []string{"ce-specversion"}},
		"EmptyID":        {"Nothing is no id.", set("ce-id", ""), 400, []string{"id"}},
		"BlankType":      {"Nor is a space a type.", set("ce-type", " "), 400, []string{"type"}},
		"BadSource":      {"A source is a URI.", set("ce-source", "%zz"), 400, []string{"header ce-source", "URI"}},
		"BadSchema":      {"So is a schema.", set("ce-dataschema", "%zz"), 400, []string{"header ce-dataschema", "URI"}},
		"BadTime":        {"A time is one of RFC 3339.", set("ce-time", "yesterday"), 400, []string{"header ce-time", "RFC 3339", "yesterday"}},
		"EmptyName":      {"A header that is only the prefix names no attribute.", set("ce-", "x"), 400, []string{"header ce-:", "name"}},
		"BadName":        {"Names are letters and digits.", set("ce-a_b", "x"), 400, []string{"header ce-a_b", "name"}},
		"TwoIDs":         {"Of two ids none is the id.", add("ce-id", "2"), 400, []string{"header ce-id", "once", "2 times"}},
		"TwoEqual":       {"Also if they are equal.", func(r *http.Request) { add("ce-type", r.Header.Get("ce-type"))(r) }, 400, []string{"header ce-type", "once"}},
		"TwoExtensions":  {"Or are extensions.", func(r *http.Request) { add("ce-a", "1")(r); add("CE-A", "2")(r) }, 400, []string{"header ce-a", "once"}},
		"TwoTypes":       {"Data is of one type.", add("Content-Type", "text/plain"), 400, []string{"header content-type", "once"}},
		"NotUTF8":        {"Text is Unicode.", set("ce-extra", "J\xf6rg"), p.unless(400), nil},
		"Batch":          {"A batch cannot be answered event by event.", set("Content-Type", "application/cloudevents-batch+json"), 415, []string{"batches are not supported"}},
		"OtherFormat":    {"JSON is the only format.", set("Content-Type", "application/cloudevents+xml"), p.unless(415), nil},
		"OtherCharset":   {"It is UTF-8.", set("Content-Type", "application/cloudevents+json; charset=utf-16"), 415, []string{"utf-8"}},
		"Compressed":     {"Nothing is compressed.", set("Content-Encoding", "gzip"), 415, []string{"content-encoding", "gzip"}},
		"BadContentType": {"Data of an unknown type is no event.", set("Content-Type", "a b c"), 400, []string{"datacontenttype"}},
		"NoSubtype":      {"A type of data has two parts (RFC 2046).", set("Content-Type", "json"), p.unless(400), nil},
		"TooLarge":       {"Bodies are bounded.", body(func([]byte) []byte { return make([]byte, p.MaxBody+1) }), 413, []string{fmt.Sprint(p.MaxBody)}},
	}
}

func body(change func([]byte) []byte) func(*http.Request) {
	return func(r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			panic(err) // It is in memory.
		}
		raw = change(raw)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
	}
}

// structured makes an event in structured mode, and lets change change its JSON.
func structured(change func(event string) string) func(*http.Request) {
	return func(r *http.Request) {
		attributes := attributesOf(r)
		attributes["datacontenttype"] = r.Header.Get("Content-Type")
		delete(attributes, "time") // The rows have their own.
		delete(attributes, "subject")
		plain(r)
		r.Header.Set("Content-Type", cloudevents.ApplicationCloudEventsJSON)
		body(func(data []byte) []byte {
			var members []string
			for _, name := range slices.Sorted(maps.Keys(attributes)) {
				members = append(members, fmt.Sprintf("%q: %s", name, quoted(attributes[name])))
			}
			if !json.Valid(data) || !strings.Contains(attributes["datacontenttype"], "json") {
				data = quoted(string(data))
			}
			return []byte(change("{" + strings.Join(members, ", ") + `, "data": ` + string(data) + "}"))
		})(r)
	}
}

func quoted(text string) []byte {
	raw, err := json.Marshal(text)
	if err != nil {
		panic(err) // Text can be encoded.
	}
	return raw
}

// with puts JSON before the members of an event.
func with(members string) func(*http.Request) {
	return structured(func(event string) string { return "{" + members + ", " + event[1:] })
}

// instead sends this.
func instead(text string) func(*http.Request) {
	return structured(func(string) string { return text })
}

func (p EventProgram) structured() map[string]Row {
	return map[string]Row{
		"Structured":          {"An event can be one JSON object.", structured(func(e string) string { return e }), p.Code, nil},
		"StructuredCharset":   {"Of UTF-8.", func(r *http.Request) { with(`"extra": "ä"`)(r); add("x", "y")(r) }, p.Code, nil},
		"StructuredNull":      {"Null is not set (JSON format 2.2).", with(`"subject": null, "time": null, "dataschema": null, "extra": null`), p.Code, nil},
		"StructuredTwice":     {"An attribute is there once.", with(`"id": "2"`), 400, []string{"event.id", "once"}},
		"StructuredTwiceCase": {"Whatever its case.", with(`"extra": "1", "EXTRA": "2"`), 400, []string{"event.EXTRA", "lower-case"}},
		"StructuredBoth":      {"There is one data.", with(`"data_base64": "YQ=="`), 400, []string{"data or data_base64"}},
		"StructuredNoName":    {"An attribute has a name.", with(`"": 1`), 400, []string{"event", "name"}},
		"StructuredFraction":  {"Numbers are whole.", with(`"extra": 1.5`), 400, []string{"event.extra", "whole number"}},
		"StructuredHuge":      {"And have 32 bits.", with(`"extra": 3000000000`), 400, []string{"event.extra", "32 bits"}},
		"StructuredInfinite":  {"Or are no numbers.", with(`"extra": 1e999999`), 400, []string{"event.extra", "32 bits"}},
		"StructuredNested":    {"An attribute has one value.", with(`"extra": {"a": [1]}`), 400, []string{"not a CloudEvent"}},
		"StructuredID":        {"An id is text.", structured(func(e string) string { return strings.Replace(e, `"id": "`, `"id": 5, "was": "`, 1) }), 400, []string{"event.id", "text"}},
		"StructuredTime":      {"A time is one of RFC 3339.", with(`"time": "yesterday"`), 400, []string{"event.time", "RFC 3339"}},
		"StructuredSchema":    {"A schema is a URI.", with(`"dataschema": "%zz"`), 400, []string{"event.dataschema", "URI"}},
		"StructuredName":      {"Names are letters and digits.", with(`"a_b": "x"`), 400, []string{"event.a_b"}},
		"StructuredNotUTF8":   {"Text is Unicode.", with("\"extra\": \"J\xf6rg\""), p.unless(400), nil},
		"StructuredSurrogate": {"Half a character is none.", with(`"extra": "\ud800"`), p.unless(400), nil},
		"StructuredEmpty":     {"Nothing is no event.", instead(""), 400, []string{"JSON object"}},
		"StructuredText":      {"Nor is text.", instead("hello"), 400, []string{"JSON object"}},
		"StructuredArray":     {"Nor is a list.", instead("[]"), 400, []string{"JSON object"}},
		"StructuredNothing":   {"Nor an object without attributes.", instead("{}"), 400, []string{"not a CloudEvent"}},
		"StructuredCut":       {"Nor half of one.", structured(func(e string) string { return e[:len(e)/2] }), 400, []string{"JSON object"}},
		"StructuredMore":      {"Nor are two.", structured(func(e string) string { return e + e }), 400, []string{"JSON object"}},
		"StructuredDeep":      {"Nothing is that deep.", with(`"extra": ` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)), 400, []string{"JSON object"}},
		"StructuredBase64":    {"Bytes are text in base64.", withoutData(`"data_base64": 12345678`), 400, []string{"event.data_base64", "text"}},
		"StructuredNotBase64": {"And nothing else.", withoutData(`"data_base64": "?"`), 400, []string{"base64"}},
		"StructuredTooLarge":  {"Bodies are bounded.", with(`"extra": "` + strings.Repeat("x", int(p.MaxBody)) + `"`), 413, []string{fmt.Sprint(p.MaxBody)}},
	}
}

// withoutData has these members in place of the data.
func withoutData(members string) func(*http.Request) {
	return structured(func(event string) string {
		attributes, _, _ := strings.Cut(event, `, "data": `)
		return attributes + ", " + members + "}"
	})
}

// data has what is wrong with the data, in both modes.
func (p EventProgram) data() map[string]Row {
	return map[string]Row{
		"DataNone":    {"There is data.", body(func([]byte) []byte { return nil }), p.BadData, nil},
		"DataText":    {"It is as the type says.", body(func([]byte) []byte { return []byte("hello") }), p.BadData, nil},
		"DataNotUTF8": {"It is Unicode.", body(func([]byte) []byte { return []byte("{\"a\": \"J\xf6rg\"}") }), p.BadData, nil},
		"DataCut":     {"It is all there.", body(func(d []byte) []byte { return d[:len(d)/2] }), p.BadData, nil},
		"DataDeep":    {"Nothing is that deep.", body(func([]byte) []byte { return bytes.Repeat([]byte("["), 100_000) }), p.BadData, nil},
		"DataDeepEnd": {"Also if it ends.", body(func([]byte) []byte { return []byte(strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000)) }), p.BadData, nil},
		"DataHuge":    {"Numbers are bounded.", body(func([]byte) []byte { return []byte(`{"generation": 1e999999}`) }), p.BadData, nil},
		"DataTwice":   {"A field is there once.", body(twice), p.BadData, nil},
	}
}

// twice repeats the first member of a JSON object.
func twice(data []byte) []byte {
	var fields map[string]json.RawMessage
	if json.Unmarshal(data, &fields) != nil {
		return append(data, data...)
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		return fmt.Appendf(nil, "{%q: %s, %s", name, fields[name], bytes.TrimSpace(data)[1:])
	}
	return data
}
