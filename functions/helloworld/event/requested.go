package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/functions/helloworld/internal/hello"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

const kind = "HelloWorldServiceInstance"

// maxText is the length, in characters, that the model's fields may have.
const maxText = 253

// Request is the event's data: who is to be greeted under which name.
type Request struct {
	Name    string `json:"name"`
	HelloTo string `json:"hello_to"`
}

// Validate says what the model would say of it, in the event's own words.
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

// Requested makes the instance of a requested greeting, or makes the one that
// has its name greet whom the event says. It sets no owner: the policy does.
type Requested struct {
	Models *model.Client
	// Namespace of the instances.
	Namespace string
}

var _ step.EventHandler[Request] = Requested{}

// HandleEvent is safe to be called for the same event again, also at the same time.
func (h Requested) HandleEvent(ctx context.Context, _ cloudevents.Event, r Request) (step.EventResult, error) {
	found, err := h.find(ctx, r.Name)
	if err != nil {
		return step.EventResult{}, err
	}
	var instance *v1alpha1.HelloWorldServiceInstance
	var op model.Operation
	if found == nil {
		instance, op, err = h.create(ctx, r)
	} else {
		instance, op, err = h.instances().Modify(ctx, h.Namespace, found.Name, func(live *v1alpha1.HelloWorldServiceInstance) error {
			if !called(live, r.Name) {
				return fmt.Errorf("%s %s/%s is no longer called %q: the event has to look again", kind, h.Namespace, live.Name, r.Name)
			}
			return greet(live, r)
		})
	}
	if err != nil {
		return step.EventResult{}, err
	}
	return step.EventResult{Operation: op, Kind: kind, Namespace: instance.Namespace, Name: instance.Name}, nil
}

// called reports whether humans call the instance by this name. A mirror shows
// what the greeter has of its own, whatever that is called.
func called(i *v1alpha1.HelloWorldServiceInstance, name string) bool {
	return i.DisplayName() == name && !hello.Mirrors(i)
}

// greet makes an instance that is there greet whom the event says.
func greet(live *v1alpha1.HelloWorldServiceInstance, r Request) error {
	if !live.DeletionTimestamp.IsZero() {
		// What is written to it now would go with it.
		return fmt.Errorf("%s %s/%s is being deleted: the event has to wait until it is gone", kind, live.Namespace, live.Name)
	}
	live.Spec.HelloTo = r.HelloTo
	return nil
}

// find finds the instance that humans call by this name, nil if there is none.
func (h Requested) find(ctx context.Context, name string) (*v1alpha1.HelloWorldServiceInstance, error) {
	named, err := h.instances().List(ctx, h.Namespace, model.Filter{Fields: fields.OneTermEqualSelector("spec.name", name)})
	if err != nil {
		return nil, err
	}
	var found []*v1alpha1.HelloWorldServiceInstance
	for _, i := range named {
		// A mirror shows what the greeter has of its own, whatever that is called.
		if !hello.Mirrors(i) {
			found = append(found, i)
		}
	}
	// The name of an object is the name for humans if it has no other.
	if len(validation.IsDNS1123Subdomain(name)) == 0 {
		i, err := h.instances().Get(ctx, h.Namespace, name)
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, err
		}
		if err == nil && i.Spec.Name == "" && !hello.Mirrors(i) {
			found = append(found, i)
		}
	}
	switch len(found) {
	case 0:
		return nil, nil
	case 1:
		return found[0], nil
	}
	return nil, step.Permanent(fmt.Errorf("data.name: expected the name of one %s, but %d are called %q, %s and %s among them",
		kind, len(found), name, found[0].Name, found[1].Name))
}

// create makes the instance under the object name that always goes with its name.
func (h Requested) create(ctx context.Context, r Request) (*v1alpha1.HelloWorldServiceInstance, model.Operation, error) {
	objectName, err := model.ObjectName(kind, r.Name)
	if err != nil {
		return nil, "", step.Permanent(fmt.Errorf("data.%w", err))
	}
	return h.instances().CreateOrModify(ctx, h.Namespace, objectName, func(live *v1alpha1.HelloWorldServiceInstance) error {
		switch {
		case live.UID == "":
			live.Spec = v1alpha1.HelloWorldServiceInstanceSpec{Name: r.Name, HelloTo: r.HelloTo}
			return nil
		case called(live, r.Name):
			return greet(live, r) // Another event was faster by a moment.
		}
		return step.Permanent(fmt.Errorf("data.name: %q would become the object %s, which is there already and is called %q: choose another name",
			r.Name, objectName, live.DisplayName()))
	})
}

func (h Requested) instances() model.Models[*v1alpha1.HelloWorldServiceInstance] {
	return model.For[*v1alpha1.HelloWorldServiceInstance](h.Models)
}
