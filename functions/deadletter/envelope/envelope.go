// Package envelope puts an event that could not be delivered into a DeadLetter, and takes it out again as it
// was. It needs no API.
package envelope

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"mime"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/types"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"

	"github.com/xos-knative/synchronizer/pkg/apis/core/v1alpha1"
)

const (
	// MaxStored is how much of an event, in bytes of JSON, an object holds. The API takes 1.5 MiB with
	// everything that belongs to the object.
	MaxStored = 1 << 20
	// maxAttribute is how many bytes of an attribute, and maxExtensions how many extensions, are
	// kept of an event whose attributes alone are larger than MaxStored.
	maxAttribute  = 1024
	maxExtensions = 64
	// aboutData is more than the JSON of a cut event has for the fields about its data, without the data.
	aboutData = 512
)

// Extensions that Knative adds to an event that it cannot deliver
// (knative.dev/eventing/pkg/kncloudevents/attributes). They are not part of the event as it was
// published.
const (
	ExtensionCode        = "knativeerrorcode"
	ExtensionReason      = "knativeerrordata"
	ExtensionDestination = "knativeerrordest"
	// extensionTTL is how many Brokers the event may still go through. Subscribers do not see it.
	extensionTTL = "knativebrokerttl"
)

// What the fields of a DeadLetter hold, in characters; see its definition.
const (
	maxReason      = 4096
	maxDestination = 2048
)

// AnnotationBytes is how large a letter was when it was stored.
const AnnotationBytes = "core.xos-knative.dev/bytes"

// Of makes the object for an event that could not be delivered.
func Of(event cloudevents.Event) *v1alpha1.DeadLetter {
	spec := v1alpha1.DeadLetterSpec{
		Destination: cut(text(event, ExtensionDestination), maxDestination),
		Code:        codeOf(text(event, ExtensionCode)),
		Reason:      reasonOf(text(event, ExtensionReason)),
	}
	spec.Event, spec.Reason = keep(event, spec.Reason)
	return &v1alpha1.DeadLetter{
		ObjectMeta: metav1.ObjectMeta{
			Name:        nameOf(event, text(event, ExtensionDestination)),
			Annotations: map[string]string{AnnotationBytes: strconv.Itoa(size(spec.Event))},
		},
		Spec: spec,
	}
}

// nameOf is the same for each delivery of an event to one destination.
func nameOf(event cloudevents.Event, destination string) string {
	sum := sha256.Sum256([]byte(event.Source() + "\x00" + event.ID() + "\x00" + destination))
	return "letter-" + hex.EncodeToString(sum[:10])
}

// text is an extension as a header has it; empty if there is none.
func text(event cloudevents.Event, extension string) string {
	value, ok := event.Extensions()[extension]
	if !ok {
		return ""
	}
	s, err := types.Format(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return s
}

// codeOf reads the HTTP status. Knative writes -1 if there was no answer.
func codeOf(s string) int32 {
	code, err := strconv.ParseInt(s, 10, 32)
	if err != nil || code < 0 || code > 999 {
		return 0
	}
	return int32(code)
}

// maxEncoded is how many characters of its base64 Knative keeps of an answer
// (KnativeErrorDataExtensionMaxLength).
const maxEncoded = 1024

// reasonOf reads the body of the answer. Knative writes base64, which may be cut off inside of a
// character; some channels write the text itself. Text that only looks like base64 does not decode
// to text.
func reasonOf(s string) string {
	raw, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return Reason(s)
	}
	whole := raw
	for range utf8.UTFMax - 1 {
		if len(s) == maxEncoded && !utf8.Valid(whole) {
			whole = whole[:len(whole)-1]
		}
	}
	if utf8.Valid(whole) {
		return Reason(string(raw))
	}
	return Reason(s)
}

// Reason makes text fit into the field, and into one line of kubectl's table.
func Reason(s string) string {
	return cut(strings.Join(strings.Fields(strings.ToValidUTF8(s, "\uFFFD")), " "), maxReason)
}

// cut shortens to at most n characters.
func cut(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n])
}

// keep makes what is stored of an event. The reason that it returns says what is not stored.
func keep(event cloudevents.Event, why string) (v1alpha1.CloudEvent, string) {
	kept, data := attributes(event), event.Data()
	if len(data) <= MaxStored {
		for _, whole := range withData(kept, data) {
			if size(whole) <= MaxStored {
				return whole, why
			}
		}
	}
	if size(kept)+aboutData > MaxStored {
		kept.DroppedBytes = squeeze(&kept)
		why = Reason("attributes of the event were too large to be kept, so it cannot be replayed; " + why)
	}
	room := (MaxStored - aboutData - size(kept)) / 4 * 3 // In base64.
	kept.DataBase64 = data[:min(room, len(data))]
	if cut := len(data) - len(kept.DataBase64); cut > 0 {
		sum := sha256.Sum256(data)
		kept.DataSize, kept.DataSHA256 = int64(len(data)), hex.EncodeToString(sum[:])
		kept.DroppedBytes += int64(cut)
		why = Reason(fmt.Sprintf("only %d of the %d bytes of the data could be kept, so the event cannot be replayed; %s", len(kept.DataBase64), len(data), why))
	}
	return kept, why
}

// withData lists the ways to keep an event with its data, the best first. What is JSON is kept to be
// read and corrected, with its bytes as they came. If that is too large, the bytes go first.
func withData(kept v1alpha1.CloudEvent, data []byte) []v1alpha1.CloudEvent {
	if len(data) == 0 {
		return []v1alpha1.CloudEvent{kept}
	}
	asBytes := kept
	asBytes.DataBase64 = data
	if !isJSON(kept.DataContentType) || !survives(data) {
		return []v1alpha1.CloudEvent{asBytes}
	}
	asJSON := kept
	asJSON.Data = &apiextensionsv1.JSON{Raw: data}
	if bytes.Equal(canonical(data), data) {
		return []v1alpha1.CloudEvent{asJSON}
	}
	both := asJSON
	both.Original = data
	return []v1alpha1.CloudEvent{both, asBytes, asJSON}
}

// canonical is JSON as the API gives it back; nil if it is none.
func canonical(data []byte) []byte {
	for range 2 { // 1.0 is stored as the float 1, which is read as an integer.
		var value any
		if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &value); err != nil {
			return nil
		}
		raw, err := json.Marshal(value)
		if err != nil {
			return nil
		}
		data = raw
	}
	return data
}

func size(kept v1alpha1.CloudEvent) int {
	raw, err := json.Marshal(kept)
	if err != nil {
		return MaxStored + 1 // It cannot fail: all of it is text.
	}
	return len(raw)
}

// attributes copies all attributes and extensions but those that Knative added.
func attributes(event cloudevents.Event) v1alpha1.CloudEvent {
	kept := v1alpha1.CloudEvent{
		ID: valid(event.ID()), Source: valid(event.Source()), Type: valid(event.Type()), SpecVersion: event.SpecVersion(),
		Subject: valid(event.Subject()), DataSchema: valid(event.DataSchema()), DataContentType: valid(event.DataContentType()),
	}
	if t := event.Time(); !t.IsZero() {
		kept.Time = types.FormatTime(t)
	}
	for name := range event.Extensions() {
		if slices.Contains([]string{ExtensionCode, ExtensionReason, ExtensionDestination, extensionTTL}, name) {
			continue
		}
		if kept.Extensions == nil {
			kept.Extensions = map[string]string{}
		}
		kept.Extensions[name] = valid(text(event, name))
	}
	return kept
}

// valid percent-encodes what of an attribute is not UTF-8, as its sender should have done (HTTP binding
// 3.1.3.2): no object can hold it.
func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		if _, n := utf8.DecodeRuneInString(s[i:]); r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, "%%%02X", s[i])
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// squeeze shortens attributes that are too large together, and returns how many bytes it has
// dropped.
func squeeze(kept *v1alpha1.CloudEvent) (dropped int64) {
	short := func(s string) string {
		to := cut(s, maxAttribute/utf8.UTFMax)
		dropped += int64(max(0, len(s)-len(to)))
		return to
	}
	for _, field := range []*string{&kept.ID, &kept.Source, &kept.Type, &kept.Subject, &kept.DataSchema, &kept.DataContentType} {
		*field = short(*field)
	}
	extensions := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(kept.Extensions)) {
		if len(name) > maxAttribute || len(extensions) == maxExtensions {
			dropped += int64(len(name) + len(kept.Extensions[name]))
			continue
		}
		extensions[name] = short(kept.Extensions[name])
	}
	kept.Extensions = extensions
	return dropped
}

// isJSON reports whether data of this content type is JSON. Without a type it is (CloudEvents 1.0,
// JSON format).
func isJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return contentType == "" || err == nil && (media == "application/json" || media == "text/json" || strings.HasSuffix(media, "+json"))
}

// maxDepth bounds how deep data that is kept as JSON may be nested: people have to be able to read
// it.
const maxDepth = 64

// survives reports whether JSON means the same after the Kubernetes API has stored it: the API
// knows numbers of 64 bits only, keeps the last of two equal names, drops a null, and takes U+FFFD for
// half a surrogate pair.
func survives(data []byte) bool {
	if !utf8.Valid(data) || bytes.Equal(bytes.TrimSpace(data), []byte("null")) {
		return false
	}
	var any any
	if strict, err := kjson.UnmarshalStrict(data, &any); err != nil || len(strict) > 0 {
		return false
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	depth := 0
	for {
		token, err := decoder.Token()
		if err != nil {
			return true // The end; UnmarshalStrict has found no error.
		}
		switch t := token.(type) {
		case string:
			// Also if it was U+FFFD before: that is rare.
			if strings.ContainsRune(t, utf8.RuneError) {
				return false
			}
		case json.Number:
			if !exact(t.String()) {
				return false
			}
		case json.Delim:
			if t == '{' || t == '[' {
				depth++
			} else {
				depth--
			}
			if depth > maxDepth {
				return false
			}
		}
	}
}

// exact reports whether a number stays the same as an int64 or a float64.
func exact(number string) bool {
	if _, err := strconv.ParseInt(number, 10, 64); err == nil {
		return true
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || len(number) > 40 {
		return false
	}
	if f == 0 {
		return strings.Trim(strings.FieldsFunc(number, func(r rune) bool { return r == 'e' || r == 'E' })[0], "-0.") == ""
	}
	is, ok := new(big.Rat).SetString(number)
	becomes, _ := new(big.Rat).SetString(strconv.FormatFloat(f, 'g', -1, 64))
	return ok && is.Cmp(becomes) == 0
}

// Restore makes the event that was kept. The error names the field that is wrong.
func Restore(kept v1alpha1.CloudEvent) (cloudevents.Event, error) {
	event := cloudevents.NewEvent()
	if kept.SpecVersion != "" {
		event.SetSpecVersion(kept.SpecVersion)
	}
	event.SetID(kept.ID)
	event.SetSource(kept.Source)
	event.SetType(kept.Type)
	if kept.Subject != "" {
		event.SetSubject(kept.Subject)
	}
	if kept.DataSchema != "" {
		event.SetDataSchema(kept.DataSchema)
	}
	if kept.DataContentType != "" {
		event.SetDataContentType(kept.DataContentType)
	}
	if kept.Time != "" {
		t, err := types.ParseTime(kept.Time)
		if err != nil {
			return event, fmt.Errorf("spec.event.time: expected RFC 3339, got %q", kept.Time)
		}
		event.SetTime(t)
	}
	for name, value := range kept.Extensions {
		event.SetExtension(name, value)
	}
	switch {
	case kept.DroppedBytes > 0:
		return event, errors.New(cutOff(kept))
	case kept.Data != nil && kept.DataBase64 != nil:
		return event, errors.New("spec.event: expected data or data_base64, got both")
	case kept.Data != nil:
		event.DataEncoded = kept.Data.Raw
		if as := canonical(kept.Original); as != nil && bytes.Equal(as, canonical(kept.Data.Raw)) {
			event.DataEncoded = kept.Original // Nobody has corrected it.
		}
	case kept.DataBase64 != nil:
		event.DataEncoded = kept.DataBase64
	}
	if err := printable(kept); err != nil {
		return event, err
	}
	if err := event.Validate(); err != nil {
		return event, fmt.Errorf("spec.event: %s", strings.Join(strings.Fields(err.Error()), " "))
	}
	return event, nil
}

// printable refuses attributes that no HTTP header can have: CloudEvents 1.0 knows no control characters.
func printable(kept v1alpha1.CloudEvent) error {
	fields := map[string]string{"id": kept.ID, "source": kept.Source, "type": kept.Type, "subject": kept.Subject,
		"dataschema": kept.DataSchema, "datacontenttype": kept.DataContentType}
	for name, value := range kept.Extensions {
		fields["extensions."+name] = value
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if strings.ContainsFunc(fields[name], unicode.IsControl) {
			return fmt.Errorf("spec.event.%s: expected text without control characters, got %q", name, fields[name])
		}
	}
	return nil
}

// cutOff says why an event that is not there as a whole is not replayed, and what to do.
func cutOff(kept v1alpha1.CloudEvent) string {
	what := ""
	if kept.DataSize > 0 {
		what = fmt.Sprintf(", of data of %d bytes with SHA-256 %s", kept.DataSize, kept.DataSHA256)
	}
	return fmt.Sprintf("spec.event.droppedBytes: %d bytes were too many to be kept%s; to replay the event, put all of it back and remove this field", kept.DroppedBytes, what)
}
