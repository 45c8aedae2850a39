package upload

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/xos-knative/synchronizer/pkg/tosca"
)

// Action is what happens to the object of a node.
type Action string

const (
	// Create makes the object.
	Create Action = "create"
	// Update changes fields of the object.
	Update Action = "update"
	// Unchanged means that the object is as the recipe wants it; nothing is written.
	Unchanged Action = "unchanged"
	// Reference is a node with must-exist: true.
	Reference Action = "reference"
	// Delete removes the object.
	Delete Action = "delete"
	// Absent means that there is nothing to delete.
	Absent Action = "absent"
)

// Plan is what an upload is going to do, in this order.
type Plan struct {
	Namespace string
	Steps     []*Step
}

// Step is what happens to one node.
type Step struct {
	Node   *tosca.Node
	Action Action

	// Object is the name of the object.
	Object string

	// Changes are the fields that an Update changes.
	Changes []Change

	// chosen are the links that the recipe leaves open; see choices.
	chosen []tosca.Field

	// fields are all that the step sets.
	fields []tosca.Field

	// live is the object as it was found, nil if there is none.
	live *unstructured.Unstructured

	// want is the object that is written.
	want *unstructured.Unstructured
}

// Change is one field before and after. From is nil where the field was not set.
type Change struct {
	Field string `json:"field"`
	From  any    `json:"from"`
	To    any    `json:"to"`
}

// String is the change in the words of a dry run's answer.
func (c Change) String() string {
	from := "(not set)"
	if c.From != nil {
		from = literal(c.From)
	}
	return fmt.Sprintf("%s %s -> %s", c.Field, from, literal(c.To))
}

func literal(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(raw)
}

// Kind of the step's object.
func (s *Step) Kind() string { return s.Node.Type.GVK.Kind }

// Names are the names of the plan's nodes, in order.
func (p *Plan) Names() []string {
	names := make([]string, 0, len(p.Steps))
	for _, s := range p.Steps {
		names = append(names, s.Node.Name)
	}
	return names
}

// found is the objects of one kind that nodes of the recipe may mean.
type found struct {
	// names are those of all objects that are not being deleted.
	names    sets.Set[string]
	byObject map[string]*unstructured.Unstructured
	byKey    map[string][]*unstructured.Unstructured
}

// find lists each kind of the recipe once, for any number of nodes, and keeps the objects that they
// can mean: those that have the name or the display name of a node.
func (u *Uploader) find(ctx context.Context, nodes []*tosca.Node) (map[schema.GroupKind]*found, error) {
	wanted := map[*tosca.Type]sets.Set[string]{}
	for _, n := range nodes {
		if wanted[n.Type] == nil {
			wanted[n.Type] = sets.New[string]()
		}
		wanted[n.Type].Insert(n.Key, n.Object)
	}
	all := make(map[schema.GroupKind]*found, len(wanted))
	for t, names := range wanted {
		f := &found{names: sets.New[string](), byObject: map[string]*unstructured.Unstructured{}, byKey: map[string][]*unstructured.Unstructured{}}
		all[t.GroupKind()] = f
		err := u.list(ctx, u.resource(t), "", func(o *unstructured.Unstructured) error {
			if o.GetDeletionTimestamp().IsZero() {
				f.names.Insert(o.GetName())
			}
			key := displayName(t, o)
			if !names.HasAny(o.GetName(), key) {
				return nil
			}
			o = o.DeepCopy()
			f.byObject[o.GetName()] = o
			f.byKey[key] = append(f.byKey[key], o)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("cannot list %s in namespace %s: %w", t.Resource, u.namespace, err)
		}
	}
	return all, nil
}

// displayName is what the key of an object says, spec.name mostly, or the object's name if it says nothing.
func displayName(t *tosca.Type, o *unstructured.Unstructured) string {
	name := ""
	if t.Key != nil {
		name, _, _ = unstructured.NestedString(o.Object, t.Key.Path...)
	}
	return cmp.Or(name, o.GetName())
}

// resolve finds the object of a node; it returns nil, nil if there is none. It looks for the
// display name and not for the object's name, so that models that were made with kubectl are found
// too.
func (f *found) resolve(n *tosca.Node) (*unstructured.Unstructured, *tosca.Error) {
	conflict := func(format string, args ...any) (*unstructured.Unstructured, *tosca.Error) {
		return nil, &tosca.Error{Name: tosca.Conflict, Node: n.Name, Line: n.Line, Message: fmt.Sprintf(format, args...)}
	}
	if n.Type.Key == nil {
		return f.byObject[n.Object], nil
	}
	named := f.byKey[n.Key]
	if len(named) == 1 {
		return named[0], nil
	}
	o := f.byObject[n.Object]
	if len(named) == 0 {
		if o == nil {
			return nil, nil
		}
		return conflict("%q would become the object %s, which exists already and is %q; change one of the names", n.Key, n.Object, displayName(n.Type, o))
	}
	if o != nil && slices.Contains(named, o) {
		return o, nil
	}
	names := make([]string, 0, len(named))
	for _, o := range named {
		names = append(names, o.GetName())
	}
	slices.Sort(names)
	return conflict("%q is the name of %d objects: %s; it is not clear which is meant", n.Key, len(names), strings.Join(names, ", "))
}

// Plan finds out what an upload of the nodes changes, and has the API server agree to it. It writes
// nothing. What is wrong with the recipe is in the Errors; the other error is the API's, and then
// the rest is of no use.
func (u *Uploader) Plan(ctx context.Context, nodes []*tosca.Node) (*Plan, tosca.Errors, error) {
	objects, err := u.find(ctx, nodes)
	if err != nil {
		return nil, nil, err
	}
	plan := &Plan{Namespace: u.namespace}
	var errs tosca.Errors
	names := make(map[*tosca.Node]string, len(nodes))
	for _, n := range nodes {
		s := &Step{Node: n, Object: n.Object}
		live, e := objects[n.Type.GroupKind()].resolve(n)
		if e == nil {
			e = s.decide(live)
		}
		if e != nil {
			errs = append(errs, e)
			continue
		}
		names[n] = s.Object
		plan.Steps = append(plan.Steps, s)
	}
	// Links come second: a name is known only once its node has been found.
	writes, err := u.fill(ctx, plan.Steps, objects, names)
	if err != nil {
		return nil, nil, err
	}
	dryErrs, err := u.dryRunAll(ctx, writes)
	if err != nil {
		return nil, nil, err
	}
	return plan, append(errs, dryErrs...), nil
}

// fill finds out what the steps set, and returns those that change something.
func (u *Uploader) fill(ctx context.Context, steps []*Step, objects map[schema.GroupKind]*found, names map[*tosca.Node]string) (writes []*Step, err error) {
	choices := u.choices(steps, objects)
	for _, s := range steps {
		if s.Action == Reference {
			continue
		}
		if slices.ContainsFunc(s.Node.Links, func(l tosca.Link) bool { return names[l.Target] == "" }) {
			// The target has its error in the list already.
			continue
		}
		if s.Action == Create {
			if err := choices.fill(ctx, s); err != nil {
				return nil, err
			}
		}
		if err := s.fill(u.namespace, names); err != nil {
			return nil, err
		}
		if s.same(s.want) {
			// Mostly: most recipes were uploaded before.
			s.Action = Unchanged
			continue
		}
		writes = append(writes, s)
	}
	return writes, nil
}

// decide says what is done with the object that was found, or that there is none.
func (s *Step) decide(live *unstructured.Unstructured) *tosca.Error {
	n := s.Node
	fail := func(name, format string, args ...any) *tosca.Error {
		return &tosca.Error{Name: name, Node: n.Name, Line: n.Line, Message: fmt.Sprintf(format, args...)}
	}
	s.live = live
	if live == nil {
		if n.MustExist {
			return fail(tosca.MustExist, "there is no %s %q, but must-exist is true", s.Kind(), n.Key)
		}
		s.Action = Create
		return nil
	}
	s.Object = live.GetName()
	if live.GetDeletionTimestamp() != nil {
		// What is written now would go away with the object.
		return fail(tosca.Conflict, "%s %s is being deleted; try again when it is gone", s.Kind(), s.Object)
	}
	s.Action = Update
	if n.MustExist {
		s.Action = Reference
	}
	return nil
}

// fill makes the object that is to be written. names are those of the nodes' objects.
func (s *Step) fill(namespace string, names map[*tosca.Node]string) error {
	s.fields = append(slices.Clone(s.Node.Fields), s.chosen...)
	for _, l := range s.Node.Links {
		s.fields = append(s.fields, tosca.Field{Property: l.Requirement, Path: l.Path, Value: names[l.Target], Line: l.Line})
	}
	if s.live != nil {
		s.want = s.live.DeepCopy()
	} else {
		s.want = &unstructured.Unstructured{Object: map[string]any{}}
		s.want.SetGroupVersionKind(s.Node.Type.GVK)
		s.want.SetNamespace(namespace)
		s.want.SetName(s.Object)
		// The object needs a spec, also if the recipe sets nothing in it.
		s.want.Object["spec"] = map[string]any{}
	}
	return s.set(s.want)
}

// set puts the step's values into an object and leaves everything else in it alone.
func (s *Step) set(o *unstructured.Unstructured) error {
	for _, f := range s.fields {
		if err := unstructured.SetNestedField(o.Object, f.Value, f.Path...); err != nil {
			return fmt.Errorf("cannot set %s of %s %s: %w", strings.Join(f.Path, "."), s.Kind(), s.Object, err)
		}
	}
	return nil
}

// parts are what recipes write to.
var parts = [][]string{{"spec"}, {"metadata", "annotations"}}

// same reports whether the object that was found says the same as another state of it.
func (s *Step) same(o *unstructured.Unstructured) bool {
	if s.live == nil {
		return false
	}
	for _, part := range parts {
		a, _, _ := unstructured.NestedFieldNoCopy(s.live.Object, part...)
		b, _, _ := unstructured.NestedFieldNoCopy(o.Object, part...)
		if !reflect.DeepEqual(a, b) {
			return false
		}
	}
	return true
}

// compare finds the changes in what the API server would make of an update. Only the API server
// knows its defaults: a recipe that leaves one out means the same as one that has it.
func (s *Step) compare(after *unstructured.Unstructured) {
	if s.same(after) {
		s.Action = Unchanged
		return
	}
	for _, part := range parts {
		a, _, _ := unstructured.NestedFieldNoCopy(s.live.Object, part...)
		b, _, _ := unstructured.NestedFieldNoCopy(after.Object, part...)
		if !reflect.DeepEqual(a, b) {
			s.Changes = append(s.Changes, changes(strings.Join(part, "."), a, b)...)
		}
	}
}

// changes goes into maps, so that it lists only what differs.
func changes(at string, from, to any) []Change {
	a, aMap := from.(map[string]any)
	b, bMap := to.(map[string]any)
	if !bMap || !aMap && from != nil {
		return []Change{{Field: at, From: from, To: to}}
	}
	var out []Change
	for _, k := range sets.List(sets.KeySet(a).Union(sets.KeySet(b))) {
		if reflect.DeepEqual(a[k], b[k]) {
			continue
		}
		out = append(out, changes(at+"."+k, a[k], b[k])...)
	}
	return out
}

// Writes is how many steps of the plan write something.
func (p *Plan) Writes() int {
	n := 0
	for _, s := range p.Steps {
		if s.Action.writes() {
			n++
		}
	}
	return n
}
