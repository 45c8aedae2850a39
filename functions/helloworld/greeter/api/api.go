// Package api holds what the greeter and its clients send to each other. It is a package of its own so
// that a function that calls the greeter links neither its store nor its server.
package api

import (
	"errors"
	"fmt"
	"regexp"
	"time"
	"unicode/utf8"
)

const (
	// MaxText is how many characters a name, hello_from or hello_to may have. Characters, not bytes,
	// as in maxLength of a CRD's schema: what the model accepts, the greeter accepts.
	MaxText = 253

	// MaxBody is how many bytes the body of a request may have. Valid requests are much smaller.
	MaxBody = 64 << 10

	// DefaultLimit is the number of greetings on a page if the caller does not set one.
	DefaultLimit = 500

	// MaxLimit is the largest number of greetings on a page.
	MaxLimit = 1000

	// MaxPage is how many bytes of an answer a client reads: more than a full page of the longest
	// greetings has.
	MaxPage = 16 << 20

	// TypeRequested is the CloudEvents type of what the greeter publishes for each greeting that its
	// own users ask for. The data is a [Request].
	TypeRequested = "dev.xos-knative.helloworld.greeting.requested"
)

// Greeting is what the greeter stores and answers.
type Greeting struct {
	// ID is what [ValidateID] accepts. A synchronizer uses the UID of the model, so that a model that
	// is created again under the same name has another greeting.
	ID string `json:"id"`

	// Name is a display name. Several greetings can have the same.
	Name string `json:"name"`

	// HelloFrom is who greets. Only a greeting of the greeter's own can have none.
	HelloFrom string `json:"hello_from,omitempty"`

	// HelloTo is who is greeted.
	HelloTo string `json:"hello_to"`

	// Message is what the greeter says: "<hello_from> is saying hello to <hello_to>".
	Message string `json:"message"`

	// Generation of the model when the greeting was written, 0 if it is the greeter's own.
	Generation int64 `json:"generation,omitempty"`

	// Model that a synchronizer writes the greeting from, nil if it is the greeter's own.
	Model *ModelRef `json:"model,omitempty"`

	// From is the version of the model that hello_from was read from, nil if it is not known.
	From *Version `json:"hello_from_version,omitempty"`

	// Requested is true if a user of the greeter asked for the greeting (POST /greetings). Such a
	// greeting is also published, so whoever receives the event can leave it out of the list.
	Requested bool `json:"requested,omitempty"`

	// CreatedAt is when the greeting was created, in UTC.
	CreatedAt time.Time `json:"created_at"`

	// UpdatedAt is when a text of the greeting last changed, in UTC. A new generation with the same
	// texts does not change it.
	UpdatedAt time.Time `json:"updated_at"`
}

// ModelRef names the model that a greeting belongs to.
type ModelRef struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
}

// Version is one of a model that a greeting uses beside its own.
type Version struct {
	UID        string `json:"uid"`
	Generation int64  `json:"generation"`
}

// Before reports whether it is older than another version of the same model.
func (v *Version) Before(other *Version) bool {
	return v != nil && other != nil && v.UID == other.UID && v.Generation < other.Generation
}

// PutRequest is the body of PUT /greetings/{id}.
type PutRequest struct {
	Name      string `json:"name"`
	HelloFrom string `json:"hello_from,omitempty"`
	HelloTo   string `json:"hello_to"`

	// Generation and Model are both set by a synchronizer, and by nobody else. From can be, too.
	Generation int64     `json:"generation,omitempty"`
	Model      *ModelRef `json:"model,omitempty"`
	From       *Version  `json:"hello_from_version,omitempty"`
}

// PutRequest is the request that writes the greeting as it is.
func (g Greeting) PutRequest() PutRequest {
	return PutRequest{Name: g.Name, HelloFrom: g.HelloFrom, HelloTo: g.HelloTo, Generation: g.Generation, Model: g.Model, From: g.From}
}

// Request is what a user of the greeter asks for: the body of POST /greetings, and the data of the
// CloudEvent that the greeter then publishes.
type Request struct {
	Name    string `json:"name"`
	HelloTo string `json:"hello_to"`
}

// GreetingList is one page of GET /greetings, ordered by id.
type GreetingList struct {
	// Items of the page, never null.
	Items []Greeting `json:"items"`

	// Continue is the parameter that asks for the next page. It is empty on the last one.
	Continue string `json:"continue,omitempty"`
}

// OutboxStatus is the answer of GET /outbox.
type OutboxStatus struct {
	// Pending is the number of events that the sink has not accepted yet.
	Pending int `json:"pending"`

	// Oldest is when a user asked for the oldest of them, nil if there is none.
	Oldest *time.Time `json:"oldest,omitempty"`
}

// Error is the body of every answer that is not 2xx.
type Error struct {
	// Error names the field that is wrong, and what was expected.
	Error string `json:"error"`
}

var validID = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,128}$`)

// ValidateID checks that an id can be part of a path: 1 to 128 of the characters that need no escape
// in a URL, and neither "." nor "..".
func ValidateID(id string) error {
	if !validID.MatchString(id) || id == "." || id == ".." {
		return fmt.Errorf("id: expected 1 to 128 of the characters A-Z a-z 0-9 . _ ~ - (and not . or .. alone), got %.150q", id)
	}
	return nil
}

// Validate returns an error that names every field that is wrong, and what was expected.
func (r Request) Validate() error {
	return errors.Join(text("name", r.Name, true), text("hello_to", r.HelloTo, true))
}

// Validate returns an error that names every field that is wrong, and what was expected.
func (r PutRequest) Validate() error {
	errs := []error{
		text("name", r.Name, true),
		text("hello_from", r.HelloFrom, r.Model != nil),
		text("hello_to", r.HelloTo, true),
	}

	// Without its model a generation could be compared with those of another model. Without a
	// generation an older write could replace a newer one.
	switch {
	case r.Model == nil && r.Generation != 0:
		errs = append(errs, errors.New("model: expected with generation, got none"))
	case r.Model != nil && r.Generation < 1:
		errs = append(errs, fmt.Errorf("generation: expected 1 or more with model, got %d", r.Generation))
	}
	if r.Model != nil {
		errs = append(errs,
			text("model.namespace", r.Model.Namespace, true),
			text("model.name", r.Model.Name, true),
			text("model.uid", r.Model.UID, true))
	}
	switch {
	case r.From == nil:
	case r.Model == nil:
		errs = append(errs, errors.New("hello_from_version: expected only with model"))
	case r.From.Generation < 1:
		errs = append(errs, fmt.Errorf("hello_from_version.generation: expected 1 or more, got %d", r.From.Generation))
	default:
		errs = append(errs, text("hello_from_version.uid", r.From.UID, true))
	}
	return errors.Join(errs...)
}

func text(field, value string, required bool) error {
	n := utf8.RuneCountInString(value)
	if required && n == 0 {
		return fmt.Errorf("%s: required, expected 1 to %d characters", field, MaxText)
	}
	if n > MaxText {
		return fmt.Errorf("%s: expected at most %d characters, got %d", field, MaxText, n)
	}
	return nil
}
