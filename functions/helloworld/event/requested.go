package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"golang.org/x/text/unicode/norm"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

const kind = "HelloWorldServiceInstance"

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
type Requested struct {
	Models *model.Client
	// Namespace of the instances.
	Namespace string
}

var _ step.EventHandler[Request] = Requested{}

// HandleEvent may be called several times for one event, also at the same time.
func (h Requested) HandleEvent(ctx context.Context, event cloudevents.Event, r Request) (step.EventResult, error) {
	i, err := h.find(ctx, r.Name)
	if err != nil {
		return step.EventResult{}, err
	}
	var op model.Operation
	if i == nil {
		i, op, err = h.create(ctx, event, r)
	} else {
		i, op, err = h.change(ctx, event, i.Name, r)
	}
	if err != nil {
		return step.EventResult{}, err
	}
	return step.EventResult{Operation: op, Kind: kind, Namespace: i.Namespace, Name: i.Name}, nil
}

// find finds the instance of this display name, nil if there is none. The name of its object does not
// matter.
func (h Requested) find(ctx context.Context, name string) (*instance, error) {
	var named []*instance
	for form := range sets.New(name, norm.NFC.String(name), norm.NFD.String(name)) {
		found, err := h.instances().List(ctx, h.Namespace, model.Filter{Fields: fields.OneTermEqualSelector("spec.name", form)})
		if err != nil {
			return nil, err
		}
		named = append(named, found...)
	}
	// Without a spec.name the name of the object is the display name.
	if len(validation.IsDNS1123Subdomain(name)) == 0 {
		i, err := h.instances().Get(ctx, h.Namespace, name)
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, err
		}
		if err == nil && i.Spec.Name == "" {
			named = append(named, i)
		}
	}
	found := slices.DeleteFunc(named, func(i *instance) bool { return !called(i, name) })
	switch len(found) {
	case 0:
		return nil, nil
	case 1:
		return found[0], nil
	}
	return nil, step.Permanent(fmt.Errorf("data.name: expected the name of one %s, but %d are called %q, %s and %s among them",
		kind, len(found), name, found[0].Name, found[1].Name))
}

// called reports whether an event with this name is about the instance. The normal forms of Unicode
// look the same, so they are one name. No event is about a mirror, which only shows what the greeter has.
func called(i *instance, name string) bool {
	return norm.NFC.String(i.DisplayName()) == norm.NFC.String(name) && !model.Mirrors(i)
}

// change makes the instance that was found greet the guest of the event.
func (h Requested) change(ctx context.Context, event cloudevents.Event, objectName string, r Request) (*instance, model.Operation, error) {
	var before int64
	i, op, err := h.instances().Modify(ctx, h.Namespace, objectName, func(live *instance) error {
		if !called(live, r.Name) {
			return fmt.Errorf("%s %s/%s is no longer called %q: the event has to be handled again", kind, h.Namespace, live.Name, r.Name)
		}
		before = live.Generation
		return greet(ctx, event, live, r)
	})
	return specOnly(i, op, before, err)
}

// specOnly makes it [model.Unchanged] if the event was remembered, but says nothing new.
func specOnly(i *instance, op model.Operation, before int64, err error) (*instance, model.Operation, error) {
	if op == model.Updated && i.Generation == before {
		op = model.Unchanged
	}
	return i, op, err
}

// errTaken is returned for the name of an object that is there and is called otherwise.
var errTaken = errors.New("which is there already")

// create makes the instance. The name of its object depends on the display name, so that two events of
// one name do not make two instances.
func (h Requested) create(ctx context.Context, event cloudevents.Event, r Request) (*instance, model.Operation, error) {
	objectName, err := model.ObjectName(kind, r.Name)
	if err != nil {
		return nil, "", step.Permanent(fmt.Errorf("data.%w", err))
	}
	i, op, err := h.createAs(ctx, event, objectName, r)
	if errors.Is(err, errTaken) {
		return h.createAs(ctx, event, model.DistinctName(kind, r.Name), r)
	}
	return i, op, err
}

func (h Requested) createAs(ctx context.Context, event cloudevents.Event, objectName string, r Request) (*instance, model.Operation, error) {
	var before int64
	i, op, err := h.instances().CreateOrModify(ctx, h.Namespace, objectName, func(live *instance) error {
		switch {
		case live.UID == "":
			live.Spec.Name = r.Name
		case !called(live, r.Name):
			return step.Permanent(fmt.Errorf("data.name: %q would become the object %s, %w and is called %q: choose another name",
				r.Name, objectName, errTaken, live.DisplayName()))
		}
		// If it is there, another event has just created it.
		before = live.Generation
		return greet(ctx, event, live, r)
	})
	return specOnly(i, op, before, err)
}

// greet changes whom the instance greets, unless a newer event has.
func greet(ctx context.Context, event cloudevents.Event, live *instance, r Request) error {
	return step.InOrder(ctx, event, live, func() error {
		if !live.DeletionTimestamp.IsZero() {
			// A change would be deleted with it.
			return fmt.Errorf("%s %s/%s is being deleted: the event has to wait until it is gone", kind, live.Namespace, live.Name)
		}
		live.Spec.HelloTo = r.HelloTo
		return nil
	})
}

func (h Requested) instances() model.Models[*instance] { return model.For[*instance](h.Models) }
