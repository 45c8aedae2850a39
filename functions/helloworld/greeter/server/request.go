package server

import (
	"encoding/base64"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"sigs.k8s.io/json"

	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
)

func pathID(r *http.Request) (string, error) {
	id := r.PathValue("id")
	if err := api.ValidateID(id); err != nil {
		return "", invalid(err)
	}
	return id, nil
}

// query refuses parameters that are not allowed, because a misspelled one that is ignored does the wrong thing: without its
// generation a DELETE is unconditional.
func query(r *http.Request, allowed ...string) error {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return failure(http.StatusBadRequest, "query: %w", err)
	}
	for name, v := range values {
		if !slices.Contains(allowed, name) {
			expected := "none"
			if len(allowed) > 0 {
				expected = strings.Join(allowed, ", ")
			}
			return failure(http.StatusBadRequest, "query parameter %.50q: unknown, expected %s", name, expected)
		}
		if len(v) > 1 {
			return failure(http.StatusBadRequest, "%s: expected once, got %d times", name, len(v))
		}
	}
	return nil
}

// parameter returns the parameter's value and whether it was given.
func parameter(r *http.Request, name string) (string, bool) {
	values := r.URL.Query()
	return values.Get(name), values.Has(name)
}

// decode the body into v, strictly.
func decode(w http.ResponseWriter, r *http.Request, v any) error {
	contentType := r.Header.Get("Content-Type")
	if mediaType, _, err := mime.ParseMediaType(contentType); err != nil || mediaType != "application/json" {
		return failure(http.StatusUnsupportedMediaType, "Content-Type: expected application/json, got %.100q", contentType)
	}

	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, api.MaxBody))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return failure(http.StatusRequestEntityTooLarge, "body: expected at most %d bytes", api.MaxBody)
	}
	if err != nil {
		return failure(http.StatusBadRequest, "body: cannot be read: %w", err)
	}
	if len(body) == 0 {
		return failure(http.StatusBadRequest, "body: expected a JSON object, got nothing")
	}
	// The decoder would put replacement characters in the place of what is not UTF-8: a greeting that nobody asked for.
	if !utf8.Valid(body) {
		return failure(http.StatusBadRequest, "body: expected JSON in UTF-8")
	}

	strict, err := json.UnmarshalStrict(body, v)
	var mismatch *stdjson.UnmarshalTypeError
	if errors.As(err, &mismatch) {
		field := mismatch.Field
		if field == "" {
			field = "body"
		}
		return failure(http.StatusBadRequest, "%s: expected %s, got %s", field, jsonType(mismatch.Type), mismatch.Value)
	}
	if err != nil {
		return failure(http.StatusBadRequest, "body: expected a JSON object: %w", err)
	}
	if err := errors.Join(strict...); err != nil {
		return invalid(fmt.Errorf("body: %w", err))
	}
	return nil
}

// jsonType says in JSON's words what a field takes.
func jsonType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Int64:
		return "a whole number"
	default:
		return "an object"
	}
}

// A token for the next page is the last id of this one: it stays good while greetings come and go. The version in front lets a
// later greeter change that and refuse old tokens, instead of reading them wrongly.
const tokenVersion = "1:"

func token(lastID string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(tokenVersion + lastID))
}

func parseToken(t string) (lastID string, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(t)
	lastID, ok := strings.CutPrefix(string(raw), tokenVersion)
	if err != nil || !ok || api.ValidateID(lastID) != nil {
		return "", fmt.Errorf("continue: expected what the page before answered, got %.50q", t)
	}
	return lastID, nil
}
