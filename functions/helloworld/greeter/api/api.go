// Package api holds what the greeter and its clients say to each other on the wire. It is a package of its own so that a
// function that calls the greeter links neither its store nor its server.
package api

import (
	"errors"
	"fmt"
	"regexp"
	"time"
	"unicode/utf8"
)

const (
	// MaxText is the length, in characters, that a name, hello_from or hello_to may have. Characters, not bytes, because
	// maxLength of a CRD's schema counts them too: what the model accepts, the greeter accepts.
	MaxText = 253

	// MaxBody is the size, in bytes, that the body of a request may have. The largest valid request is far below it.
	MaxBody = 64 << 10

	// DefaultLimit is the number of greetings on a page when the caller does not say.
	DefaultLimit = 500

	// MaxLimit is the largest page. A full page of the longest greetings stays below MaxPage.
	MaxLimit = 1000

	// MaxPage is more, in bytes, than any answer of the greeter has. A client need not read further.
	MaxPage = 16 << 20

	// TypeRequested is the CloudEvents type of what the greeter publishes for each greeting that it accepts from its own
	// users. The data is a Request.
	TypeRequested = "dev.xos-knative.helloworld.greeting.requested"
)

// A Greeting as the greeter keeps and shows it.
type Greeting struct {
	// ID is what ValidateID accepts. A synchronizer uses the UID of the model, so that a name that is used again is
	// another greeting.
	ID string `json:"id"`

	// Name is for display. It need not be unique.
	Name string `json:"name"`

	// HelloFrom is who greets. It is empty only when the greeting is the greeter's own.
	HelloFrom string `json:"hello_from,omitempty"`

	// HelloTo is who is greeted.
	HelloTo string `json:"hello_to"`

	// Message is what the greeter says: "<hello_from> is saying hello to <hello_to>".
	Message string `json:"message"`

	// Generation of the model that the greeting was written from, 0 if it is the greeter's own.
	Generation int64 `json:"generation,omitempty"`

	// Model that the greeting is kept in step with by a synchronizer, nil if it is the greeter's own.
	Model *ModelRef `json:"model,omitempty"`

	// Requested says that a user of the greeter asked for the greeting (POST /greetings), so that it was or will be published:
	// who hears of it by the event need not find it in the list too.
	Requested bool `json:"requested,omitempty"`

	// CreatedAt is when the greeter first had the greeting, in UTC.
	CreatedAt time.Time `json:"created_at"`

	// UpdatedAt is when what the greeting says last changed, in UTC. A new generation that says the same leaves it alone.
	UpdatedAt time.Time `json:"updated_at"`
}

// ModelRef names the model that a greeting belongs to.
type ModelRef struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
}

// PutRequest is the body of PUT /greetings/{id}.
type PutRequest struct {
	Name      string `json:"name"`
	HelloFrom string `json:"hello_from,omitempty"`
	HelloTo   string `json:"hello_to"`

	// Generation and Model come together: a synchronizer sends both, everybody else neither.
	Generation int64     `json:"generation,omitempty"`
	Model      *ModelRef `json:"model,omitempty"`
}

// Request is what a user of the greeter asks for (the body of POST /greetings) and, word for word, what the greeter then
// publishes as the data of a CloudEvent.
type Request struct {
	Name    string `json:"name"`
	HelloTo string `json:"hello_to"`
}

// GreetingList is one page of GET /greetings, ordered by id.
type GreetingList struct {
	// Items is never null.
	Items []Greeting `json:"items"`

	// Continue asks for the next page. It is empty on the last one.
	Continue string `json:"continue,omitempty"`
}

// OutboxStatus is the answer of GET /outbox.
type OutboxStatus struct {
	// Pending is the number of events that the sink has not accepted yet.
	Pending int `json:"pending"`

	// Oldest is when the longest waiting of them was accepted from a user, nil if there is none.
	Oldest *time.Time `json:"oldest,omitempty"`
}

// Error is the body of every answer that is not 2xx.
type Error struct {
	Error string `json:"error"`
}

var validID = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,128}$`)

// ValidateID returns an error that says what an id looks like if id does not: 1 to 128 of the characters that need no escape in
// a URL, and neither "." nor "..", which a path cannot hold.
func ValidateID(id string) error {
	if !validID.MatchString(id) || id == "." || id == ".." {
		return fmt.Errorf("id: expected 1 to 128 of the characters A-Z a-z 0-9 . _ ~ - (and not . or .. alone), got %.150q", id)
	}
	return nil
}

// Validate returns an error that names every field that is wrong, and what was expected of it.
func (r Request) Validate() error {
	return errors.Join(text("name", r.Name, true), text("hello_to", r.HelloTo, true))
}

// Validate returns an error that names every field that is wrong, and what was expected of it.
func (r PutRequest) Validate() error {
	errs := []error{
		text("name", r.Name, true),
		text("hello_from", r.HelloFrom, r.Model != nil),
		text("hello_to", r.HelloTo, true),
	}

	// A generation alone would be compared with those of some other model, a model alone could be overwritten by its own past.
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
