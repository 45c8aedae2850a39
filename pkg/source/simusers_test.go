package source

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// user does one of the things that users do to objects.
func (s *sim) user() {
	s.users--
	ref := simRef{"books", simNamespace, fmt.Sprintf("book-%d", s.pick(s.books))}
	if s.pick(3) == 1 {
		ref = simRef{"shelves", simNamespace, fmt.Sprintf("shelf-%d", s.pick(2))}
	}
	if s.api.objects[ref] == nil {
		s.note("user creates %s", ref.name)
		u := &unstructured.Unstructured{Object: map[string]any{}}
		u.SetGroupVersionKind(s.api.kind(ref.plural).GVK)
		s.declare(u, ref)
		_, _ = s.api.do(simRequest{verb: "create", simRef: ref, object: u}, time.Now())
		return
	}
	switch habit := s.pick(12); habit {
	case 0, 1:
		s.edit(ref, "changes", func(u *unstructured.Unstructured) { s.declare(u, ref) })
	case 2:
		s.remove(ref)
	case 3:
		s.edit(ref, "pauses", annotate(model.AnnotationPaused, "true"))
	case 4:
		s.edit(ref, "lets go on", annotate(model.AnnotationPaused, ""))
	case 5, 6:
		s.edit(ref, "opts out", annotate([]string{model.AnnotationNoSync, model.AnnotationNoPolicy}[habit-5], "true"))
	case 7:
		s.edit(ref, "opts in", func(u *unstructured.Unstructured) {
			annotate(model.AnnotationNoSync, "")(u)
			annotate(model.AnnotationNoPolicy, "")(u)
		})
	case 8:
		s.edit(ref, "requests", annotate(model.AnnotationRequestedAt, time.Now().String()))
	case 9:
		if s.enabled[userReplaces] {
			s.count(userReplaces)
			s.edit(ref, "replaces", func(u *unstructured.Unstructured) {
				u.SetFinalizers(nil)
				if _, found, _ := unstructured.NestedMap(u.Object, "status", "sync"); !found {
					s.backend.unprotected[u.GetUID()] = true // If the pod dies now, nothing says that there was one.
				}
			})
			s.settleRemoval(ref)
			if s.pick(2) == 1 && s.api.objects[ref] != nil {
				s.remove(ref) // By force.
			}
		}
	case 10, 11:
		s.report(ref)
	}
}

func (s *sim) edit(ref simRef, what string, change func(*unstructured.Unstructured)) {
	s.note("user %s %s", what, ref.name)
	s.api.edit(ref, false, change)
}

// settleRemoval marks what is gone because its finalizers were taken away, and were not back yet.
func (s *sim) settleRemoval(ref simRef) {
	last := s.api.log[len(s.api.log)-1]
	if s.stormy && last.simRef == ref && s.api.objects[ref] == nil {
		if _, ok := s.backend.records[last.object.GetUID()]; ok {
			s.backend.unprotected[last.object.GetUID()] = true
		}
	}
}

func annotate(key, value string) func(*unstructured.Unstructured) {
	return func(u *unstructured.Unstructured) {
		a := u.GetAnnotations()
		if a == nil {
			a = map[string]string{}
		}
		if a[key] = value; value == "" {
			delete(a, key)
		}
		if u.SetAnnotations(a); len(a) == 0 {
			unstructured.RemoveNestedField(u.Object, "metadata", "annotations") // As the server does.
		}
	}
}

// declare sets the spec of an object.
func (s *sim) declare(u *unstructured.Unstructured, ref simRef) {
	if ref.plural == "shelves" {
		u.Object["spec"] = map[string]any{"label": fmt.Sprintf("label-%d", s.pick(3))}
		return
	}
	title := fmt.Sprintf("title-%d", s.pick(3))
	if s.pick(3) == 2 {
		special := []string{titleRename, titleDeferred, titleFails, titlePermanent, titleWarns, titleUnwelcome}
		title = special[s.pick(len(special))]
	}
	before, _, _ := unstructured.NestedString(u.Object, "spec", "shelf", "name")
	shelf := fmt.Sprintf("shelf-%d", s.pick(2))
	u.Object["spec"] = map[string]any{"title": title, "shelf": map[string]any{"name": shelf}}
	if shelf != before {
		annotate("moved", fmt.Sprint(s.api.version+1))(u)
	}
}

func (s *sim) remove(ref simRef) {
	s.note("user deletes %s", ref.name)
	_, _ = s.api.do(simRequest{verb: "delete", simRef: ref}, time.Now())
	s.settleRemoval(ref)
}

// report is feedback from the micro-service, which a pull or an event step brings.
func (s *sim) report(ref simRef) {
	if ref.plural != "books" {
		return
	}
	s.note("%s was lent", ref.name)
	s.api.edit(ref, true, func(u *unstructured.Unstructured) {
		for _, count := range [][]string{{"status", "observed", "lent"}, {"status", "observedRevision"}} {
			n, _, _ := unstructured.NestedInt64(u.Object, count...)
			_ = unstructured.SetNestedField(u.Object, n+1, count...)
		}
	})
}
