package model

import (
	"maps"
	"math"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/apis"
)

var convert = runtime.DefaultUnstructuredConverter.FromUnstructured

// reader reads what nearly every object has, in a tenth of the time that the converter takes, which reads the rest.
// It fails at whatever has not the type that an API server sends; the converter has to read all of it then, and
// says what is wrong.
type reader struct{ failed bool }

func as[T any](r *reader, v any) (t T) {
	t, ok := v.(T)
	r.failed = r.failed || !ok && v != nil
	return t
}

func (r *reader) text(v any) string { return as[string](r, v) }

func (r *reader) int32(v any) int32 {
	n := as[int64](r, v)
	r.failed = r.failed || n < math.MinInt32 || n > math.MaxInt32
	return int32(n)
}

func (r *reader) time(v any) *metav1.Time {
	if v == nil {
		return nil
	}
	t, err := time.Parse(time.RFC3339, r.text(v))
	r.failed = r.failed || err != nil
	return &metav1.Time{Time: t.Local()}
}

func (r *reader) texts(v any) map[string]string {
	if v == nil {
		return nil
	}
	all := as[map[string]any](r, v)
	texts := make(map[string]string, len(all))
	for key, value := range all {
		texts[key] = r.text(value)
	}
	return texts
}

func listOf[T any](r *reader, v any, read func(*reader, any) T) []T {
	if v == nil {
		return nil
	}
	all := as[[]any](r, v)
	list := make([]T, len(all))
	for i, value := range all {
		list[i] = read(r, value)
	}
	return list
}

func with(fields map[string]any, field string, v any) map[string]any {
	if fields == nil {
		fields = map[string]any{}
	}
	fields[field] = v
	return fields
}

// metadataOf reads the metadata of an object, without what others store there: managed fields, and annotations
// that kubectl makes as large as the spec.
func metadataOf(metadata any) (metav1.ObjectMeta, error) {
	var part struct {
		Metadata metav1.ObjectMeta `json:"metadata"`
	}
	fields, ok := metadata.(map[string]any)
	if !ok {
		return part.Metadata, convert(map[string]any{"metadata": metadata}, &part)
	}
	var r reader
	m, rest := r.metadata(fields)
	var others metav1.ObjectMeta
	if !r.failed && (len(rest) == 0 || convert(rest, &others) == nil) {
		m.GenerateName, m.DeletionGracePeriodSeconds, m.OwnerReferences = others.GenerateName, others.DeletionGracePeriodSeconds, others.OwnerReferences
		return m, nil
	}
	fields = maps.Clone(fields)
	delete(fields, "managedFields")
	err := convert(map[string]any{"metadata": fields}, &part)
	maps.DeleteFunc(part.Metadata.Annotations, func(key, _ string) bool { return !strings.HasPrefix(key, FinalizerPrefix) })
	return part.Metadata, err
}

func (r *reader) metadata(fields map[string]any) (m metav1.ObjectMeta, rest map[string]any) {
	for field, v := range fields {
		switch field {
		case "name":
			m.Name = r.text(v)
		case "namespace":
			m.Namespace = r.text(v)
		case "uid":
			m.UID = types.UID(r.text(v))
		case "resourceVersion":
			m.ResourceVersion = r.text(v)
		case "generation":
			m.Generation = as[int64](r, v)
		case "creationTimestamp":
			if t := r.time(v); t != nil {
				m.CreationTimestamp = *t
			}
		case "deletionTimestamp":
			m.DeletionTimestamp = r.time(v)
		case "labels":
			m.Labels = r.texts(v)
		case "annotations":
			for key, value := range as[map[string]any](r, v) {
				text := r.text(value)
				if strings.HasPrefix(key, FinalizerPrefix) {
					if m.Annotations == nil {
						m.Annotations = map[string]string{}
					}
					m.Annotations[key] = text
				}
			}
		case "finalizers":
			m.Finalizers = listOf(r, v, (*reader).text)
		case "managedFields":
		default:
			rest = with(rest, field, v)
		}
	}
	return m, rest
}

// statusOf reads the status of an object. A field that cannot be read counts as none.
func statusOf(fields map[string]any) (s Status) {
	var r reader
	s, rest := r.status(fields)
	var others Status
	if !r.failed && (len(rest) == 0 || convert(rest, &others) == nil) {
		s.Annotations, s.LastEvents = others.Annotations, others.LastEvents
		return s
	}
	s = Status{}
	if convert(fields, &s) == nil {
		return s
	}
	readable := maps.Clone(fields)
	maps.DeleteFunc(readable, func(field string, value any) bool {
		return convert(map[string]any{field: value}, &Status{}) != nil
	})
	s = Status{}
	_ = convert(readable, &s) // Each field can be.
	return s
}

func (r *reader) status(fields map[string]any) (s Status, rest map[string]any) {
	for field, v := range fields {
		switch field {
		case "observedGeneration":
			s.ObservedGeneration = as[int64](r, v)
		case "observedRevision":
			s.ObservedRevision = as[int64](r, v)
		case "conditions":
			s.Conditions = listOf(r, v, (*reader).condition)
		case "sync":
			s.Sync = r.step(v)
		case "policy":
			s.Policy = r.step(v)
		case "annotations", "lastEvents":
			rest = with(rest, field, v)
		}
	}
	return s, rest
}

func (r *reader) condition(v any) (c apis.Condition) {
	for field, v := range as[map[string]any](r, v) {
		switch field {
		case "type":
			c.Type = apis.ConditionType(r.text(v))
		case "status":
			c.Status = corev1.ConditionStatus(r.text(v))
		case "severity":
			c.Severity = apis.ConditionSeverity(r.text(v))
		case "lastTransitionTime":
			if t := r.time(v); t != nil {
				c.LastTransitionTime.Inner = *t
			}
		case "reason":
			c.Reason = r.text(v)
		case "message":
			c.Message = r.text(v)
		}
	}
	return c
}

func (r *reader) step(v any) *StepStatus {
	if v == nil {
		return nil
	}
	s := &StepStatus{}
	for field, v := range as[map[string]any](r, v) {
		switch field {
		case "generation":
			s.Generation = as[int64](r, v)
		case "state":
			s.State = State(r.text(v))
		case "code":
			s.Code = Code(r.int32(v))
		case "message":
			s.Message = r.text(v)
		case "failures":
			s.Failures = r.int32(v)
		case "permanent":
			s.Permanent = as[bool](r, v)
		case "lastSuccess":
			s.LastSuccess = r.time(v)
		case "lastFailure":
			s.LastFailure = r.time(v)
		case "nextAttempt":
			s.NextAttempt = r.time(v)
		case "requestedAt":
			s.RequestedAt = r.text(v)
		case "finalizer":
			s.Finalizer = as[bool](r, v)
		case "observedRevision":
			s.ObservedRevision = as[int64](r, v)
		case "unsettled":
			s.Unsettled = r.int32(v)
		case "waitingFor":
			s.WaitingFor = listOf(r, v, (*reader).blocker)
		case "handle":
			s.Handle = r.text(v)
		case "dependencies":
			s.Dependencies = listOf(r, v, (*reader).dependency)
		}
	}
	return s
}

func (r *reader) blocker(v any) Blocker {
	fields := as[map[string]any](r, v)
	return Blocker{Kind: r.text(fields["kind"]), Name: r.text(fields["name"]), Reason: BlockerReason(r.text(fields["reason"]))}
}

func (r *reader) dependency(v any) DependencyStatus {
	fields := as[map[string]any](r, v)
	return DependencyStatus{Kind: r.text(fields["kind"]), Name: r.text(fields["name"]), UID: r.text(fields["uid"]),
		Generation: as[int64](r, fields["generation"]), ObservedRevision: as[int64](r, fields["observedRevision"])}
}
