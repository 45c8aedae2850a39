package step

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// EnvDescribe names a file. A function that is started with it writes its [Description] there as JSON, and
// ends: it does not need a Kubernetes API for that. Its other settings must be as they are on a cluster.
const EnvDescribe = "SYNCHRONIZER_DESCRIBE"

// Description is what a function consists of. Tools make of it what the function needs: rights, Triggers,
// PingSources.
type Description struct {
	// Name that [Main] was called with.
	Name string `json:"name"`
	// Steps are its registrations, in their order.
	Steps []Described `json:"steps"`
}

// Described is one registration of a function.
type Described struct {
	// Step is sync, policy, pull or event.
	Step string `json:"step"`
	// Group, Version and Kind of the models that the step is written for. Empty for a [Pull] and an [On].
	Group   string `json:"group,omitempty"`
	Version string `json:"version,omitempty"`
	Kind    string `json:"kind,omitempty"`
	// EventTypes that wake the step, for pull and event.
	EventTypes []string `json:"eventTypes,omitempty"`
	// Verbs are what the engine does with objects of the kind, and StatusVerbs with their status.
	Verbs       []string `json:"verbs,omitempty"`
	StatusVerbs []string `json:"statusVerbs,omitempty"`
}

// GroupKind of the models.
func (d Described) GroupKind() schema.GroupKind {
	return schema.GroupKind{Group: d.Group, Kind: d.Kind}
}

// about is the kind that a registration is about, and what its engine does with it.
type about struct {
	gvk                func(*model.Client) (schema.GroupVersionKind, error)
	verbs, statusVerbs []string
}

func aboutKind[T model.Object](statusVerbs []string, verbs ...string) about {
	return about{func(models *model.Client) (schema.GroupVersionKind, error) { return model.For[T](models).GVK() }, verbs, statusVerbs}
}

// Describe describes registrations. It sends no requests.
func Describe(name string, models *model.Client, registrations []Registration) (Description, error) {
	d := Description{Name: name, Steps: []Described{}}
	for _, r := range registrations {
		one := Described{Step: string(r.step), Verbs: r.about.verbs, StatusVerbs: r.about.statusVerbs}
		switch {
		case r.handler != nil:
			one.Step, one.EventTypes = "event", r.handler(models).types
		case r.puller != nil || r.compare != nil:
			one.Step, one.EventTypes = "pull", []string{EventPing}
		}
		if r.about.gvk != nil {
			gvk, err := r.about.gvk(models)
			if err != nil {
				return Description{}, err
			}
			one.Group, one.Version, one.Kind = gvk.Group, gvk.Version, gvk.Kind
		}
		d.Steps = append(d.Steps, one)
	}
	return d, nil
}

// describe writes the description of a function to a file.
func describe(ctx context.Context, file, name string, steps Steps, addToScheme []func(*runtime.Scheme) error) error {
	models, err := model.NewClient(&rest.Config{Host: "127.0.0.1:1"}, addToScheme...)
	if err != nil {
		return err
	}
	registrations, err := steps(ctx, models)
	if err != nil {
		return fmt.Errorf("making the steps: %w", err)
	}
	d, err := Describe(name, models, registrations)
	if err != nil {
		return err
	}
	content, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return os.WriteFile(file, content, 0o600)
}
