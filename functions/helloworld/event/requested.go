package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/step"
)

type instance = v1alpha1.HelloWorldServiceInstance

// maxText is how many characters the model allows in a field.
const maxText = 253

// Request is the event's data: who is to be greeted, and the name of the instance.
type Request struct {
	Name    string `json:"name"`
	HelloTo string `json:"hello_to"`
}

// Validate checks what the model requires, so that the error names the fields of the event.
func (r Request) Validate() error {
	return errors.Join(text("data.name", r.Name), text("data.hello_to", r.HelloTo))
}

func text(field, value string) error {
	if strings.TrimSpace(value) == "" {
		return fmt.Errorf("%s: required, expected text that is not blank, of at most %d characters", field, maxText)
	}
	if n := utf8.RuneCountInString(value); n > maxText {
		return fmt.Errorf("%s: expected at most %d characters, got %d", field, maxText, n)
	}
	return nil
}

// Requested makes an instance of a requested greeting, or changes the instance of that name. It sets
// no owner: the policy does.
type Requested struct{}

var _ step.ObjectHandler[*instance, Request] = Requested{}

// Key finds the instance by its display name. The name of its object does not matter.
func (Requested) Key(r Request) step.Key { return step.Key{Field: "spec.name", Value: r.Name} }

// Apply makes the instance greet the guest.
func (Requested) Apply(_ context.Context, _ cloudevents.Event, r Request, i *instance) error {
	if i.UID == "" {
		i.Spec.Name = r.Name
	}
	i.Spec.HelloTo = r.HelloTo
	return nil
}
