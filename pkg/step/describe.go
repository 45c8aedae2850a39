package step

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"

	eventsv1 "k8s.io/api/events/v1"
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

// Right is what an engine does with objects of one resource, in the namespace of the models.
type Right struct {
	// Why says what for.
	Why             string
	Group, Resource string
	Verbs           []string
}

// EventsGroup is the API group of Kubernetes Events.
const EventsGroup = eventsv1.GroupName

// Rights are what the engine of the step needs for objects of its kind, for what they depend on, and for what
// depends on them; nothing of it for a step without a kind but for the Events. The kinds are all models. What the
// step itself does besides is not known here.
func (d Described) Rights(kinds []*model.Kind) []Right {
	var rights []Right
	add := func(why, group, resource string, verbs ...string) {
		if len(verbs) > 0 {
			rights = append(rights, Right{why, group, resource, verbs})
		}
	}
	if i := slices.IndexFunc(kinds, func(k *model.Kind) bool { return k.GVK.GroupKind() == d.GroupKind() }); i >= 0 {
		kind := kinds[i]
		add(whys[d.Step], d.Group, kind.Resource, d.Verbs...)
		add("Acknowledges, and reports, in the status.", d.Group, kind.Resource+"/status", d.StatusVerbs...)
		for _, on := range kinds {
			switch {
			case !dependsOn(kind, on):
			case d.Step == string(model.StepSync) || d.Step == string(model.StepPolicy):
				add("Reads what the objects depend on (list: if they do not name it).", on.GVK.Group, on.Resource, "get", "list")
			case d.Step == "pull":
				add("Reads what the objects depend on.", on.GVK.Group, on.Resource, "get")
			}
		}
		for _, other := range kinds {
			if d.Step == string(model.StepSync) && dependsOn(other, kind) {
				add("Waits for what depends on a deleted object (list), and deletes what that owns (metadata.ownerReferences).",
					other.GVK.Group, other.Resource, "list", "delete")
			}
		}
	}
	if d.Step != "event" {
		add("Says what has happened, where kubectl describe shows it.", EventsGroup, "events", "create", "patch")
	}
	return rights
}

var whys = map[string]string{
	"sync":   "Reads the object, puts the finalizer on (patch).",
	"policy": "Reads the object, puts the finalizer on (patch).",
	"pull":   "Reads the models, asks for another sync (patch), makes mirrors (create).",
	"event":  "Finds the object by its field (list) or makes one, and changes it.",
}

func dependsOn(k, other *model.Kind) bool {
	return slices.ContainsFunc(k.DependsOn, func(d model.DependsOn) bool { return d.GroupKind == other.GVK.GroupKind() })
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
