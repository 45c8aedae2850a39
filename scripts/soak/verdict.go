package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/client"
	corev1alpha1 "github.com/xos-knative/synchronizer/pkg/apis/core/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/model"
)

// fault is a kind of what must not be left in the end.
type fault string

const (
	lost        fault = "lost"         // declared or accepted, but not in the greeter, or with another text
	doubled     fault = "doubled"      // in the greeter, or among the models, twice
	zombie      fault = "zombie"       // deleted, but still there
	older       fault = "older"        // in the greeter something newer was replaced, for however short a time
	unconverged fault = "unconverged"  // not Ready as it is now
	letterLeft  fault = "dead letters" // not handled when it was replayed
)

var faults = []fault{lost, doubled, zombie, older, unconverged, letterLeft}

// verdict is what is wrong, by its kind.
type verdict map[fault][]string

func (v verdict) add(f fault, format string, args ...any) {
	v[f] = append(v[f], fmt.Sprintf(format, args...))
}

func (v verdict) clean() bool { return len(v) == 0 }

// judgement compares what is declared with what is there.
type judgement struct {
	verdict
	live      map[string]*instance     // by UID, without those that are being deleted
	from      map[string]string        // by name of the service
	greetings map[string]*api.Greeting // by id
}

// judge reads everything, and says what is wrong with it. Without pulled it does not look for what only pull makes.
func judge(ctx context.Context, w *world, users []*user, v *visitor, pulled bool) (verdict, error) {
	j := judgement{verdict{}, map[string]*instance{}, map[string]string{}, map[string]*api.Greeting{}}
	declared := map[string]string{}
	for _, u := range users {
		maps.Copy(declared, u.to)
	}
	if err := j.services(ctx, w, users); err != nil {
		return nil, err
	}
	err := w.instances.Each(ctx, metav1.NamespaceAll, model.Filter{}, func(i *instance) error {
		j.object(i, i.Status)
		if i.DeletionTimestamp.IsZero() {
			j.live[string(i.UID)] = i
		}
		to, ok := declared[i.Name]
		switch delete(declared, i.Name); {
		case !ok && i.DeletionTimestamp.IsZero() && strings.HasPrefix(i.Name, userPrefix):
			j.add(zombie, "instance %s is to be deleted", i.Name)
		case ok && i.Spec.HelloTo != to:
			j.add(lost, "instance %s: declared %q, it has %q", i.Name, to, i.Spec.HelloTo)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for name := range declared {
		j.add(lost, "instance %s is not there", name)
	}
	if err := j.greeter(ctx, w); err != nil {
		return nil, err
	}
	j.visitors(v, pulled)
	return j.verdict, w.letters.Each(ctx, metav1.NamespaceAll, model.Filter{}, func(l *corev1alpha1.DeadLetter) error {
		j.add(letterLeft, "%s/%s: %d %s", l.Namespace, l.Name, l.Spec.Code, l.Spec.Reason)
		return nil
	})
}

func (j judgement) services(ctx context.Context, w *world, users []*user) error {
	missing := map[string]string{}
	for _, u := range users {
		maps.Copy(missing, u.from)
	}
	err := w.services.Each(ctx, namespace, model.Filter{}, func(s *service) error {
		j.object(s, s.Status)
		j.from[s.Name] = s.Spec.HelloFrom
		if from, ok := missing[s.Name]; ok && from != s.Spec.HelloFrom {
			j.add(lost, "service %s: declared %q, it has %q", s.Name, from, s.Spec.HelloFrom)
		}
		delete(missing, s.Name)
		return nil
	})
	for name := range missing {
		j.add(lost, "service %s is not there", name)
	}
	return err
}

// object looks at what every model says of itself.
func (j judgement) object(o metav1.Object, s model.Status) {
	ready := s.GetCondition(model.ConditionReady)
	switch {
	case o.GetDeletionTimestamp() != nil:
		j.add(zombie, "%s is still being deleted: %v %s", o.GetName(), o.GetFinalizers(), ready.GetMessage())
	case !ready.IsTrue() || s.ObservedGeneration != o.GetGeneration():
		j.add(unconverged, "%s: %s %s", o.GetName(), ready.GetReason(), ready.GetMessage())
	}
}

// greeter compares the greetings with the instances.
func (j judgement) greeter(ctx context.Context, w *world) error {
	of := map[string]string{}
	for g, err := range w.greeter.All(ctx, client.ListOptions{}) {
		if err != nil {
			return err
		}
		j.greetings[g.ID] = &g
		if g.Model == nil {
			continue
		}
		key := g.Model.Name
		if j.live[g.ID] == nil {
			j.add(zombie, "greeting %s of instance %s, which is gone", g.ID, key)
		}
		if other := of[key]; other != "" {
			j.add(doubled, "greetings %s and %s of instance %s", other, g.ID, key)
		}
		of[key] = g.ID
	}
	for uid, i := range j.live {
		if i.Annotations[model.AnnotationMirrors] != "" {
			continue
		}
		want := fmt.Sprintf("%s is saying hello to %s", j.from[i.OwnerName()], i.Spec.HelloTo)
		switch g := j.greetings[uid]; {
		case g == nil:
			j.add(lost, "instance %s has no greeting", i.Name)
		case g.Message != want:
			j.add(lost, "instance %s: the greeter says %q in place of %q", i.Name, g.Message, want)
		}
	}
	return nil
}

// visitors looks at what the greeter's own users have asked for: each of it is one instance.
func (j judgement) visitors(v *visitor, pulled bool) {
	named, mirrors := map[string]int{}, map[string]int{}
	for _, i := range j.live {
		if mirror := i.Annotations[model.AnnotationMirrors]; mirror != "" {
			mirrors[mirror]++
			continue
		}
		if i.Spec.Name != "" {
			named[i.Spec.Name]++
		}
	}
	count := func(what string, wanted []string, have map[string]int) {
		for _, name := range wanted {
			if have[name] == 0 {
				j.add(lost, "%s %s has no instance", what, name)
			}
		}
		for name, n := range have {
			if n > 1 {
				j.add(doubled, "%s %s has %d instances", what, name, n)
			}
		}
	}
	count("request", v.accepted, named)
	if pulled {
		count("greeting", v.own, mirrors)
	}
	for _, f := range j.verdict {
		slices.Sort(f)
	}
}

// replay asks for a replay of all dead letters, as an operator does when the fault is over.
func replay(ctx context.Context, w *world, changes *tally) error {
	return w.letters.Each(ctx, metav1.NamespaceAll, model.Filter{}, func(l *corev1alpha1.DeadLetter) error {
		_, op, err := w.letters.Modify(ctx, l.Namespace, l.Name, func(l *corev1alpha1.DeadLetter) error {
			l.Spec.Replay = true
			return nil
		})
		if op == model.Updated {
			changes.add("dead letter replayed")
		}
		if model.IsGone(err) {
			return nil
		}
		return err
	})
}
