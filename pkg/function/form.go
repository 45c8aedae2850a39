package function

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/cloudevents/sdk-go/v2/types"
)

// attributePrefix begins the names of headers that are attributes.
const attributePrefix = "ce-"

// form checks what the SDK does not, and would take for another event without an error. It returns the
// body as the SDK reads it right.
func form(header http.Header, body []byte, lenient bool) ([]byte, error) {
	bad := func(err error) error {
		return cehttp.NewResult(http.StatusBadRequest, "not a CloudEvent: %s", oneLine(err))
	}
	if err := checkHeader(header, lenient); err != nil {
		return nil, bad(err)
	}
	media, parameters, _ := mime.ParseMediaType(header.Get("Content-Type"))
	switch {
	case strings.HasPrefix(media, cloudevents.ApplicationCloudEventsBatchJSON):
		return nil, cehttp.NewResult(http.StatusUnsupportedMediaType, "content-type %s: batches are not supported, send one event a request", media)
	case media == cloudevents.ApplicationCloudEventsJSON:
		if charset := parameters["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
			return nil, cehttp.NewResult(http.StatusUnsupportedMediaType, "content-type: expected charset utf-8, got %.50q", charset)
		}
	case strings.HasPrefix(media, "application/cloudevents") && !lenient: // HTTP binding 3: the prefix means structured mode.
		return nil, cehttp.NewResult(http.StatusUnsupportedMediaType, "content-type: expected application/cloudevents+json, or the attributes in headers, got %.100q", media)
	case media != "" && !strings.Contains(media, "/") && !lenient:
		return nil, bad(fmt.Errorf("header content-type: expected TYPE/SUBTYPE, got %.100q", media))
	default:
		return body, nil
	}
	body, err := envelope(body, lenient)
	if err != nil {
		return nil, bad(err)
	}
	return body, nil
}

// checkHeader refuses attributes that are there twice, of which the SDK takes the first, and those that
// are not Unicode, of which the API would store something else.
func checkHeader(header http.Header, lenient bool) error {
	for _, name := range slices.Sorted(maps.Keys(header)) {
		attribute, ok := strings.CutPrefix(strings.ToLower(name), attributePrefix)
		if !ok {
			continue
		}
		values := header[name]
		if len(values) > 1 {
			return fmt.Errorf("header %s: expected once, got %d times", strings.ToLower(name), len(values))
		}
		if !lenient && !utf8.ValidString(values[0]) {
			return fmt.Errorf("header %s: expected text in UTF-8, got %.100q", strings.ToLower(name), values[0])
		}
		if err := checkAttribute("header "+attributePrefix, attribute, values[0]); err != nil {
			return err
		}
	}
	return nil
}

// checkAttribute checks of what the SDK's errors do not say where it is.
func checkAttribute(where, name, value string) (err error) {
	expected := ""
	switch name {
	case "time":
		_, err = types.ParseTime(value)
		expected = "a time of RFC 3339"
	case "datacontenttype":
		if !strings.Contains(value, "/") {
			err = errors.New("RFC 2046")
		}
		expected = "TYPE/SUBTYPE"
	case "source", "dataschema":
		_, err = url.Parse(value)
		expected = "a URI"
	}
	if err != nil {
		return fmt.Errorf("%s%s: expected %s, got %.100q", where, name, expected, value)
	}
	if !event.IsExtensionNameValid(name) || name != strings.ToLower(name) {
		return fmt.Errorf("%s%.100s: expected a name of lower-case letters and digits", where, name)
	}
	return nil
}

// envelope checks the JSON of an event in structured mode. It puts in front what the SDK has to know to
// read the rest, and leaves out what is null, which means that it is not set (JSON format 2.2).
func envelope(body []byte, lenient bool) ([]byte, error) {
	if !lenient && !utf8.Valid(body) {
		return nil, errors.New("event: expected JSON in UTF-8")
	}
	fields, err := members(body)
	if err != nil {
		return nil, err
	}
	if fields["data"] != nil && fields["data_base64"] != nil {
		return nil, errors.New("event: expected data or data_base64, got both")
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		switch {
		case name == "data": // The step checks it, and says what it is about.
		case string(fields[name]) == "null":
			delete(fields, name)
		default:
			if !lenient {
				err = CheckText("event."+name, fields[name])
			}
			if err == nil {
				fields[name], err = checkMember(name, fields[name])
			}
			if err != nil {
				return nil, err
			}
		}
	}
	var sorted bytes.Buffer
	first := []string{"specversion", "datacontenttype"}
	rest := slices.DeleteFunc(slices.Sorted(maps.Keys(fields)), func(name string) bool { return slices.Contains(first, name) })
	for _, name := range append(first, rest...) {
		if fields[name] != nil {
			key, _ := stdjson.Marshal(name)
			fmt.Fprintf(&sorted, ",%s:%s", key, fields[name])
		}
	}
	return append(append([]byte("{"), bytes.TrimPrefix(sorted.Bytes(), []byte(","))...), '}'), nil
}

// texts are the attributes that the specification has, all of them text.
var texts = []string{"specversion", "id", "type", "source", "subject", "time", "dataschema", "datacontenttype", "data_base64"}

// checkMember checks a member other than data that is not null, and returns it as the SDK reads it.
func checkMember(name string, raw stdjson.RawMessage) (stdjson.RawMessage, error) {
	var text string
	isText := stdjson.Unmarshal(raw, &text) == nil
	switch {
	case slices.Contains(texts, name) && (!isText || text == "" && name != "data_base64"):
		return nil, fmt.Errorf("event.%s: expected text that is not empty, got %.50s", name, raw)
	case name == "data_base64":
		return stdjson.Marshal(text) // Without escapes, which the SDK does not read everywhere.
	case isText:
		return raw, checkAttribute("event.", name, text)
	case strings.ContainsAny(string(raw[:1]), "-0123456789"):
		number, err := strconv.ParseFloat(string(raw), 64)
		if err != nil || number != math.Trunc(number) || math.Abs(number) > math.MaxInt32 {
			return nil, fmt.Errorf("event.%s: expected a whole number of 32 bits, got %.50s", name, raw)
		}
	}
	return raw, checkAttribute("event.", name, "")
}

// members are those of a JSON object, each with a name of its own.
func members(body []byte) (map[string]stdjson.RawMessage, error) {
	expected := errors.New("event: expected one JSON object")
	if !stdjson.Valid(body) || bytes.TrimSpace(body)[0] != '{' {
		return nil, expected
	}
	fields := map[string]stdjson.RawMessage{}
	decoder := stdjson.NewDecoder(bytes.NewReader(body))
	_, _ = decoder.Token() // It is valid.
	for decoder.More() {
		token, _ := decoder.Token()
		var raw stdjson.RawMessage
		if err := decoder.Decode(&raw); err != nil {
			return nil, fmt.Errorf("%w: %w", expected, err)
		}
		name := token.(string)
		if name == "" {
			return nil, errors.New("event: expected a name for each attribute, got an empty one")
		}
		if fields[name] != nil {
			return nil, fmt.Errorf("event.%.100s: expected once, got it twice", name)
		}
		fields[name] = raw
	}
	return fields, nil
}
