package model

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/json"
)

// Reference is the data of a model event: which object it is about. It never holds the spec:
// functions read the object themselves, so that a forged event can do no more than ask for work that is
// due anyway.
type Reference struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace"`
	Name       string `json:"name"`
	UID        string `json:"uid,omitempty"`
	Generation int64  `json:"generation,omitempty"`
	// ResourceVersion of the object when the event was made. The function reads the object as it was then or later, which
	// the API server answers from its memory. Without it the function reads the object as it is now.
	ResourceVersion string `json:"resourceVersion,omitempty"`
	// Dependencies are the resource versions of what the object depends on, one for each DependsOn of its kind, empty for
	// one that is missing. A function that has read just that version does not read it again.
	Dependencies []string `json:"dependencies,omitempty"`
}

// GroupKind of the object.
func (r Reference) GroupKind() schema.GroupKind {
	return schema.FromAPIVersionAndKind(r.APIVersion, r.Kind).GroupKind()
}

// Reference to the object.
func (s *Snapshot) Reference() Reference {
	version, kind := s.Kind.GVK.ToAPIVersionAndKind()
	return Reference{APIVersion: version, Kind: kind, Namespace: s.Namespace, Name: s.Name, UID: string(s.UID), Generation: s.Generation}
}

// WakeEvent is the CloudEvent that wakes the step for the object. Its id is UID, generation, step and
// attempt; attempts are counted from 1 for each generation. The dependencies are those that [Due] was asked with.
func (s *Snapshot) WakeEvent(step Step, attempt int, now time.Time, dependencies ...Dependency) cloudevents.Event {
	id := fmt.Sprintf("%s/%d/%s/%d", s.UID, s.Generation, step, attempt)
	ref := s.Reference()
	ref.ResourceVersion = s.ResourceVersion
	for _, d := range dependencies {
		version := ""
		if d.Object != nil {
			version = d.Object.ResourceVersion
		}
		ref.Dependencies = append(ref.Dependencies, version)
	}
	event := s.Event(s.EventType(step), id, now, ref)
	event.SetExtension(ExtensionStep, string(step))
	return event
}

// Event is a CloudEvent about the object, with the attributes that Triggers filter on, except "step",
// which only [Snapshot.WakeEvent] adds: the reply of a function must not wake the function again.
func (s *Snapshot) Event(eventType, id string, now time.Time, data any) cloudevents.Event {
	event := cloudevents.NewEvent()
	event.SetID(id)
	event.SetType(eventType)
	event.SetSource(s.Kind.SourceOf(s.Namespace))
	event.SetSubject(s.Name)
	event.SetTime(now)
	event.SetExtension(ExtensionKind, s.Kind.GVK.Kind)
	event.SetExtension(ExtensionNamespace, s.Namespace)
	event.SetExtension(ExtensionName, s.Name)
	event.SetExtension(ExtensionUID, string(s.UID))
	// As text: an Integer of CloudEvents has 32 bits.
	event.SetExtension(ExtensionGeneration, strconv.FormatInt(s.Generation, 10))
	// A broker that keeps order keeps it for each object.
	event.SetExtension(ExtensionPartitionKey, string(s.UID))
	if err := event.SetData(cloudevents.ApplicationJSON, data); err != nil {
		panic(fmt.Sprintf("model event data %T cannot be encoded: %v", data, err)) // A programmer's error.
	}
	return event
}

// ParseWakeEvent says which of a function's steps an event is for, and which object it is about: it is what
// [Snapshot.WakeEvent] has made, or somebody by hand, who need not say the step if the function has only one.
// The error names the field that is wrong and what was expected.
func ParseWakeEvent(event cloudevents.Event, steps ...Step) (Step, Reference, error) {
	ref, err := ParseReference(event)
	if err != nil {
		return "", ref, err
	}
	wanted, ok := event.Extensions()[ExtensionStep]
	if !ok && len(steps) == 1 {
		return steps[0], ref, nil
	}
	i := slices.IndexFunc(steps, func(s Step) bool { return string(s) == wanted })
	if i < 0 {
		names := strings.Trim(strings.ReplaceAll(fmt.Sprint(steps), " ", " or "), "[]")
		return "", ref, fmt.Errorf("step: expected %s, got %.100v: the event is for another function", names, wanted)
	}
	return steps[i], ref, nil
}

// ParseReference reads the reference from a model event. The error names the field that is wrong and
// what was expected.
func ParseReference(event cloudevents.Event) (Reference, error) {
	var r Reference
	if !utf8.Valid(event.Data()) {
		return r, errors.New("data: expected JSON in UTF-8")
	}
	strict, err := json.UnmarshalStrict(event.Data(), &r)
	if err = errors.Join(append(strict, err)...); err != nil {
		return r, fmt.Errorf("data: expected a JSON object with apiVersion, kind, namespace and name: %w", err)
	}
	gv, err := schema.ParseGroupVersion(r.APIVersion)
	if err != nil || gv.Group == "" || gv.Version == "" {
		return r, fmt.Errorf("data.apiVersion: expected group/version, got %q", r.APIVersion)
	}
	if r.Kind == "" {
		return r, errors.New("data.kind: expected the kind of a model, got nothing")
	}
	// The names become paths of the API.
	if errs := validation.IsDNS1123Label(r.Namespace); len(errs) > 0 {
		return r, fmt.Errorf("data.namespace: expected the name of a namespace, got %q: %s", r.Namespace, errs[0])
	}
	if errs := validation.IsDNS1123Subdomain(r.Name); len(errs) > 0 {
		return r, fmt.Errorf("data.name: expected the name of an object, got %q: %s", r.Name, errs[0])
	}
	if _, err := strconv.ParseUint(r.ResourceVersion, 10, 64); err != nil && r.ResourceVersion != "" {
		return r, fmt.Errorf("data.resourceVersion: expected the number of a version of the object, or nothing, got %q", r.ResourceVersion)
	}
	return r, nil
}
