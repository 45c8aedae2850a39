package model

import (
	"errors"
	"fmt"
	"hash/fnv"
	"reflect"
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

// Reference is the data of a model event: which object it is about. For several objects it is a list of them, see
// [WakeEvent]. It never holds the spec: functions read the object themselves, so that a forged event can do no more than
// ask for work that is due anyway.
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

// MaxObjects is how many objects one event can be about.
const MaxObjects = 64

// references are the data of an event about several objects.
type references struct {
	Objects []Reference `json:"objects"`
}

// Wake is an object that a step is woken for.
type Wake struct {
	Object *Snapshot
	// Attempt is counted from 1 for each generation.
	Attempt int
	// Dependencies are those that [Due] was asked with.
	Dependencies []Dependency
}

func (w Wake) id(step Step) string {
	return fmt.Sprintf("%s/%d/%s/%d", w.Object.UID, w.Object.Generation, step, w.Attempt)
}

func (w Wake) reference() Reference {
	ref := w.Object.Reference()
	ref.ResourceVersion = w.Object.ResourceVersion
	for _, d := range w.Dependencies {
		version := ""
		if d.Object != nil {
			version = d.Object.ResourceVersion
		}
		ref.Dependencies = append(ref.Dependencies, version)
	}
	return ref
}

// WakeEvent is the CloudEvent that wakes the step for an object. Its id is UID, generation, step and attempt.
//
// For several objects, of one kind, namespace and [Snapshot.EventType], it is one event with the attribute
// [ExtensionCount] and without subject, name, uid and generation: its data are the references of all. Its id is that of
// the first object, with the number and a hash of the others.
func WakeEvent(step Step, now time.Time, first Wake, others ...Wake) cloudevents.Event {
	o := first.Object
	if len(others) == 0 {
		event := o.Event(o.EventType(step), first.id(step), now, first.reference())
		event.SetExtension(ExtensionStep, string(step))
		return event
	}
	all := references{[]Reference{first.reference()}}
	hash := fnv.New64a()
	for _, w := range others {
		all.Objects = append(all.Objects, w.reference())
		fmt.Fprintln(hash, w.id(step))
	}
	event := o.Event(o.EventType(step), fmt.Sprintf("%s+%d-%x", first.id(step), len(others), hash.Sum64()), now, all)
	event.SetSubject("")
	for _, name := range []string{ExtensionName, ExtensionUID, ExtensionGeneration} {
		event.SetExtension(name, nil)
	}
	event.SetExtension(ExtensionStep, string(step))
	event.SetExtension(ExtensionCount, len(all.Objects))
	return event
}

// WakeEvent is [WakeEvent] for one object.
func (s *Snapshot) WakeEvent(step Step, attempt int, now time.Time, dependencies ...Dependency) cloudevents.Event {
	return WakeEvent(step, now, Wake{s, attempt, dependencies})
}

// Event is a CloudEvent about the object, with the attributes that Triggers filter on, except "step",
// which only [WakeEvent] adds: the reply of a function must not wake the function again.
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

// ParseWakeEvent says which of a function's steps an event is for, and which objects it is about: it is what
// [WakeEvent] has made, or somebody by hand, who need not say the step if the function has only one.
// The error names the field that is wrong and what was expected.
func ParseWakeEvent(event cloudevents.Event, steps ...Step) (Step, []Reference, error) {
	refs, err := ParseReferences(event)
	if err != nil {
		return "", nil, err
	}
	wanted, ok := event.Extensions()[ExtensionStep]
	if !ok && len(steps) == 1 {
		return steps[0], refs, nil
	}
	i := slices.IndexFunc(steps, func(s Step) bool { return string(s) == wanted })
	if i < 0 {
		names := strings.Trim(strings.ReplaceAll(fmt.Sprint(steps), " ", " or "), "[]")
		return "", nil, fmt.Errorf("step: expected %s, got %.100v: the event is for another function", names, wanted)
	}
	return steps[i], refs, nil
}

// ParseReferences reads the references from a model event: one, or a list of them in the field "objects". The error names
// the field that is wrong and what was expected.
func ParseReferences(event cloudevents.Event) ([]Reference, error) {
	if !utf8.Valid(event.Data()) {
		return nil, errors.New("data: expected JSON in UTF-8")
	}
	var data struct {
		Reference
		references
	}
	strict, err := json.UnmarshalStrict(event.Data(), &data)
	if err = errors.Join(append(strict, err)...); err != nil {
		return nil, fmt.Errorf("data: expected a JSON object with apiVersion, kind, namespace and name, or a list of them in objects: %w", err)
	}
	if data.Objects == nil {
		return []Reference{data.Reference}, data.check("data")
	}
	if !reflect.ValueOf(data.Reference).IsZero() {
		return nil, errors.New("data: expected the fields of one object, or objects, got both")
	}
	if n := len(data.Objects); n == 0 || n > MaxObjects {
		return nil, fmt.Errorf("data.objects: expected 1 to %d, got %d", MaxObjects, n)
	}
	for i, r := range data.Objects {
		if err := r.check(fmt.Sprintf("data.objects[%d]", i)); err != nil {
			return nil, err
		}
	}
	return data.Objects, nil
}

func (r Reference) check(at string) error {
	gv, err := schema.ParseGroupVersion(r.APIVersion)
	if err != nil || gv.Group == "" || gv.Version == "" {
		return fmt.Errorf("%s.apiVersion: expected group/version, got %q", at, r.APIVersion)
	}
	if r.Kind == "" {
		return fmt.Errorf("%s.kind: expected the kind of a model, got nothing", at)
	}
	// The names become paths of the API.
	if errs := validation.IsDNS1123Label(r.Namespace); len(errs) > 0 {
		return fmt.Errorf("%s.namespace: expected the name of a namespace, got %q: %s", at, r.Namespace, errs[0])
	}
	if errs := validation.IsDNS1123Subdomain(r.Name); len(errs) > 0 {
		return fmt.Errorf("%s.name: expected the name of an object, got %q: %s", at, r.Name, errs[0])
	}
	if _, err := strconv.ParseUint(r.ResourceVersion, 10, 64); err != nil && r.ResourceVersion != "" {
		return fmt.Errorf("%s.resourceVersion: expected the number of a version of the object, or nothing, got %q", at, r.ResourceVersion)
	}
	return nil
}
