package source

import (
	"encoding/json"
	"hash/maphash"
	"math"
	"strconv"
	"strings"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// record is what the source keeps of an object for as long as it is there. A [model.Snapshot] takes ten times as
// much; one is made of the record when somebody looks at the object. What model.Due says of it is the same.
//
// Most objects are settled and need only what stands here. Those that are not (their deletion, a failure or a wait
// goes on) and odd ones are kept in full.
type record struct {
	// key is namespace/name.
	key string
	// links are the dependencies, one for each of the kind's DependsOn.
	links       []link
	annotations map[string]string
	// full is set if the object does not fit into what follows.
	full *model.Snapshot

	uid                  uuid.UUID
	version              uint64
	generation, revision uint32
	steps                [2]kept
	policyRevision       uint32
	flags                flags
}

// kept is what the tracker needs of a step that has come to rest.
type kept struct {
	// print stands for the step's part of the status: another part has another print.
	print uint64
	// generation that the step has handled.
	generation uint32
	// attempts are the events that were sent for the object's generation.
	attempts uint32
}

// link is a dependency of an object. The objects with the same one are a list, whose head is in watchedKind.heads.
type link struct {
	// on is namespace/name of the dependency, without a name if the object names none.
	on         string
	prev, next *record
	// uid, generation and revision are those that the last sync has used; no uid if it has used none.
	uid                  uuid.UUID
	generation, revision uint32
}

type flags uint16

// The first bit of each step is followed by that of the other one.
const (
	unreported flags = 1 << iota
	carries
	_
	handled // The step has a part of the status.
	_
	hasRun // It says that the step has succeeded or failed before.
	_
	hasFinalizer // It says that the step has put its finalizer on the object.
	_
	hasAnswered // It says that the step has handled what requested-at says.
	_
)

// steps are all that there are, in the order of record.steps.
var steps = model.Steps()

// some is a time, where only matters that there is one.
var some = metav1.Unix(0, 0)

// finalizersOf has the finalizers of steps for each set of those that are carried.
var finalizersOf = [4][]string{nil, {model.StepSync.Finalizer()}, {model.StepPolicy.Finalizer()}, {model.StepSync.Finalizer(), model.StepPolicy.Finalizer()}}

var seed = maphash.MakeSeed()

// printOf is the print of a step's part of the status, zero if there is none.
func printOf(status *model.StepStatus) uint64 {
	if status == nil {
		return 0
	}
	text, _ := json.Marshal(status) // It has nothing that cannot be written.
	return maphash.Bytes(seed, text) | 1
}

// record of an object, which is not linked yet.
func (w *watchedKind) record(o *model.Snapshot) *record {
	r := &record{key: o.Namespace + "/" + o.Name}
	if len(o.Annotations) > 0 {
		r.annotations = o.Annotations
	}
	if len(o.Refs) > 0 {
		r.links = make([]link, len(o.Refs))
	}
	for i, ref := range o.Refs {
		r.links[i].on = o.Namespace + "/" + ref
	}
	for i, step := range steps {
		r.steps[i].print = printOf(o.Status.Step(step))
	}
	if !w.pack(r, o) {
		r.full = trimmed(o)
	}
	return r
}

// trimmed is a copy without what Due never looks at.
func trimmed(o *model.Snapshot) *model.Snapshot {
	small := *o
	m := o.ObjectMeta
	small.ObjectMeta = metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion,
		Generation: m.Generation, Annotations: m.Annotations, Finalizers: m.Finalizers, DeletionTimestamp: m.DeletionTimestamp}
	small.Status = model.Status{ObservedRevision: o.Status.ObservedRevision}
	for _, step := range steps {
		if status := o.Status.Step(step); status != nil {
			part := *status
			part.Message, part.Handle = "", ""
			small.Status.SetStep(step, &part)
		}
	}
	return &small
}

// packer turns what an object has into less, as long as it fits.
type packer struct{ failed bool }

func (p *packer) must(fits bool) { p.failed = p.failed || !fits }

func (p *packer) uint32(n int64) uint32 {
	p.must(n >= 0 && n <= math.MaxUint32)
	return uint32(n)
}

// uid is never zero: that stands for none.
func (p *packer) uid(text string) uuid.UUID {
	id, err := uuid.Parse(text)
	p.must(err == nil && id != uuid.Nil && id.String() == text)
	return id
}

// pack reports whether the object fits into the record.
func (w *watchedKind) pack(r *record, o *model.Snapshot) bool {
	var p packer
	p.must(!o.Deleting() && o.Problem == "")
	version, err := strconv.ParseUint(o.ResourceVersion, 10, 64)
	p.must(err == nil && strconv.FormatUint(version, 10) == o.ResourceVersion)
	r.version = version
	r.uid = p.uid(string(o.UID))
	r.generation = p.uint32(o.Generation)
	r.revision = p.uint32(o.Status.ObservedRevision)
	if o.Unreported {
		r.flags |= unreported
	}
	for i, step := range steps {
		if o.Carries(step) {
			r.flags |= carries << i
		}
		if status := o.Status.Step(step); status != nil {
			w.packStep(&p, r, i, status)
		}
	}
	return !p.failed
}

func (w *watchedKind) packStep(p *packer, r *record, i int, status *model.StepStatus) {
	p.must(status.State == model.StateOK && status.Failures == 0 && !status.Permanent && status.NextAttempt == nil && len(status.WaitingFor) == 0)
	r.flags |= handled << i
	r.steps[i].generation = p.uint32(status.Generation)
	if status.LastSuccess != nil || status.LastFailure != nil {
		r.flags |= hasRun << i
	}
	if status.Finalizer {
		r.flags |= hasFinalizer << i
	}
	if asked := r.annotations[model.AnnotationRequestedAt]; status.RequestedAt != "" {
		p.must(status.RequestedAt == asked)
		r.flags |= hasAnswered << i
	}
	if steps[i] == model.StepPolicy {
		r.policyRevision = p.uint32(status.ObservedRevision)
		p.must(len(status.Dependencies) == 0)
		return
	}
	p.must(status.ObservedRevision == 0)
	for _, d := range status.Dependencies {
		l := w.linkFor(r, d)
		if p.must(l != nil); l == nil {
			return
		}
		l.uid, l.generation, l.revision = p.uid(d.UID), p.uint32(d.Generation), p.uint32(d.ObservedRevision)
	}
}

// linkFor finds the place for what a sync has used: the object still depends on that.
func (w *watchedKind) linkFor(r *record, d model.DependencyStatus) *link {
	for i := range r.links {
		if l := &r.links[i]; l.uid == uuid.Nil && w.DependsOn[i].GroupKind.Kind == d.Kind && l.name() == d.Name {
			return l
		}
	}
	return nil
}

func (l link) name() string {
	_, name, _ := strings.Cut(l.on, "/")
	return name
}

func (r *record) names() types.NamespacedName {
	namespace, name, _ := strings.Cut(r.key, "/")
	return types.NamespacedName{Namespace: namespace, Name: name}
}

func (r *record) deleting() bool { return r.full != nil && r.full.Deleting() }

func (r *record) has(f flags) bool { return r.flags&f != 0 }

// same reports whether the records are of the same object, at the same generation.
func (r *record) same(other *record) bool {
	if r.full == nil && other.full == nil {
		return r.uid == other.uid && r.generation == other.generation
	}
	uid, generation := r.identity()
	otherUID, otherGeneration := other.identity()
	return uid == otherUID && generation == otherGeneration
}

func (r *record) identity() (string, int64) {
	if r.full != nil {
		return string(r.full.UID), r.full.Generation
	}
	return r.uid.String(), int64(r.generation)
}

// snapshot is the object as model.Due looks at it. It must not be changed.
func (w *watchedKind) snapshot(r *record) *model.Snapshot {
	if r.full != nil {
		return r.full
	}
	names := r.names()
	o := &model.Snapshot{Kind: w.Kind, Unreported: r.has(unreported), ObjectMeta: metav1.ObjectMeta{
		Namespace: names.Namespace, Name: names.Name, UID: types.UID(r.uid.String()), ResourceVersion: strconv.FormatUint(r.version, 10),
		Generation: int64(r.generation), Annotations: r.annotations, Finalizers: finalizersOf[r.flags/carries%4]}}
	if len(r.links) > 0 {
		o.Refs = make([]string, len(r.links))
		for i, l := range r.links {
			o.Refs[i] = l.name()
		}
	}
	o.Status.ObservedRevision = int64(r.revision)
	for i, step := range steps {
		if r.has(handled << i) {
			o.Status.SetStep(step, w.unpackStep(r, i))
		}
	}
	return o
}

func (w *watchedKind) unpackStep(r *record, i int) *model.StepStatus {
	status := &model.StepStatus{State: model.StateOK, Generation: int64(r.steps[i].generation), Finalizer: r.has(hasFinalizer << i)}
	if r.has(hasRun << i) {
		status.LastSuccess = &some
	}
	if r.has(hasAnswered << i) {
		status.RequestedAt = r.annotations[model.AnnotationRequestedAt]
	}
	if steps[i] == model.StepPolicy {
		status.ObservedRevision = int64(r.policyRevision)
		return status
	}
	for i, l := range r.links {
		if l.uid != uuid.Nil {
			status.Dependencies = append(status.Dependencies, model.DependencyStatus{Kind: w.DependsOn[i].GroupKind.Kind, Name: l.name(),
				UID: l.uid.String(), Generation: int64(l.generation), ObservedRevision: int64(l.revision)})
		}
	}
	return status
}
