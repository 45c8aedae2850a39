package server

import (
	"cmp"
	"encoding/base64"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/json"

	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/store"
	"github.com/xos-knative/synchronizer/pkg/function"
)

func pathID(r *http.Request) (string, error) {
	id := r.PathValue("id")
	if err := api.ValidateID(id); err != nil {
		return "", invalid(err)
	}
	return id, nil
}

// query refuses parameters that are not allowed. If a misspelled one were ignored, the wrong thing
// would be done: a DELETE without its generation is unconditional.
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

// deletedGeneration is the generation of a DELETE, 0 if it has none.
func deletedGeneration(r *http.Request) (int64, error) {
	if err := query(r, "generation"); err != nil {
		return 0, err
	}
	v, ok := parameter(r, "generation")
	if !ok {
		return 0, nil
	}
	generation, err := strconv.ParseInt(v, 10, 64)
	if err != nil || generation < 1 {
		return 0, failure(http.StatusBadRequest, "generation: expected a whole number of 1 or more, got %.50q", v)
	}
	return generation, nil
}

// ifMatch is the tag in the request's If-Match, none without one.
func ifMatch(r *http.Request) ([]string, error) {
	v := r.Header.Get("If-Match")
	if v == "" {
		return nil, nil
	}
	tag, err := strconv.Unquote(v)
	if err != nil || tag == "" {
		return nil, failure(http.StatusBadRequest, "If-Match: expected the ETag of an answer 409, got %.100q", v)
	}
	return []string{tag}, nil
}

func listOptions(r *http.Request) (store.ListOptions, error) {
	o := store.ListOptions{Limit: api.DefaultLimit}
	if err := query(r, "limit", "continue", "managed"); err != nil {
		return o, err
	}
	if v, ok := parameter(r, "limit"); ok {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > api.MaxLimit {
			return o, failure(http.StatusBadRequest, "limit: expected a whole number from 1 to %d, got %.50q", api.MaxLimit, v)
		}
		o.Limit = n
	}
	if v, ok := parameter(r, "managed"); ok {
		managed := v == "true"
		if !managed && v != "false" {
			return o, failure(http.StatusBadRequest, "managed: expected true or false, got %.50q", v)
		}
		o.Managed = &managed
	}
	if v, ok := parameter(r, "continue"); ok {
		after, err := parseToken(v)
		if err != nil {
			return o, invalid(err)
		}
		o.After = after
	}
	return o, nil
}

// decode reads and validates the body of a request that has no parameters.
func decode[T interface{ Validate() error }](w http.ResponseWriter, r *http.Request) (body T, err error) {
	if err := query(r); err != nil {
		return body, err
	}
	raw, err := read(w, r)
	if err != nil {
		return body, err
	}
	strict, err := json.UnmarshalStrict(raw, &body)
	if mismatch := new(stdjson.UnmarshalTypeError); errors.As(err, &mismatch) {
		return body, failure(http.StatusBadRequest, "%s: expected %s, got %.50s", cmp.Or(mismatch.Field, "body"), jsonType(mismatch.Type), mismatch.Value)
	}
	if err != nil {
		return body, failure(http.StatusBadRequest, "body: expected a JSON object: %w", err)
	}
	if err := errors.Join(strict...); err != nil {
		return body, invalid(fmt.Errorf("body: %w", err))
	}
	if err := body.Validate(); err != nil {
		return body, invalid(err)
	}
	return body, nil
}

// read reads a body of JSON.
func read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	contentType := r.Header.Get("Content-Type")
	if mediaType, _, err := mime.ParseMediaType(contentType); err != nil || mediaType != "application/json" {
		return nil, failure(http.StatusUnsupportedMediaType, "Content-Type: expected application/json, got %.100q", contentType)
	}
	raw, err := function.Body(w, r, api.MaxBody)
	if refused := (*function.BodyError)(nil); errors.As(err, &refused) {
		return nil, failure(refused.Code, "%s", refused.Reason)
	}
	if len(raw) == 0 {
		return nil, failure(http.StatusBadRequest, "body: expected a JSON object, got nothing")
	}
	if err := function.CheckText("body", raw); err != nil {
		return nil, invalid(err)
	}
	return raw, nil
}

// jsonType is JSON's word for what a field of the type takes.
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

// tokenVersion begins each token for a next page, so that a later greeter can have other tokens and
// refuse the old ones.
const tokenVersion = "1:"

// token is for the page after the one that ends with lastID. It stays valid while greetings are
// created and deleted.
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
