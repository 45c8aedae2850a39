package main

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"

	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/client"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// parallel is how many records are worked on at once. A greeter that has lost
// its disk makes thousands of them at a time.
const parallel = 8

// Greetings pulls the greeter's greetings:
//
//   - one that the greeter has of its own becomes an instance with no-sync, a
//     mirror. Those that its users requested are left to function event, which
//     hears of them; two instances of one greeting would be one too many;
//   - one of ours whose instance is gone is removed;
//   - one of ours that is missing or not as its instance says makes the
//     instance due again: the model is authoritative.
//
// The instances are read before the greetings, and neither is a picture of one
// moment. So what they say together is a suspicion only, and whatever is done
// about it is decided on what is read anew.
type Greetings struct {
	Models  *model.Client
	Greeter *client.Client
	// Namespace whose models are compared. Greetings of the models of other
	// namespaces are none of our business.
	Namespace string
}

var _ step.Puller = Greetings{}

// Pull runs one round.
func (p Greetings) Pull(ctx context.Context, round *step.Round) error {
	known, err := p.index(ctx)
	if err != nil {
		return err
	}
	var work errgroup.Group
	work.SetLimit(parallel)
	record := func(name string, fn func() (step.PullResult, error)) {
		work.Go(func() error {
			round.Record(name, fn)
			return nil
		})
	}
	err = p.list(ctx, known, record)
	_ = work.Wait() // Nobody returns an error; each record's was counted.
	if err != nil {
		// What was not in the part of the list that came is not missing.
		return err
	}
	for uid, i := range known.ours {
		if i.settled && !i.seen {
			record(string(uid), func() (step.PullResult, error) { return p.mend(ctx, i.name, uid) })
		}
	}
	return work.Wait()
}

// list goes over the greetings, page by page.
func (p Greetings) list(ctx context.Context, known *index, record func(string, func() (step.PullResult, error))) error {
	for g, err := range p.Greeter.All(ctx, client.ListOptions{}) {
		if err != nil {
			return err
		}
		ours, isOurs := known.ours[types.UID(g.ID)]
		mirror, isMirrored := known.mirrors[g.ID]
		switch {
		case isOurs:
			ours.seen = true
			if !ours.settled || ours.matches(g) {
				record(g.ID, unchanged)
				continue
			}
			record(g.ID, func() (step.PullResult, error) { return p.mend(ctx, ours.name, types.UID(g.ID)) })
		case g.Model != nil && (g.Model.Namespace != p.Namespace || g.Model.UID != g.ID):
			// Another synchronizer's.
		case g.Model != nil:
			record(g.ID, func() (step.PullResult, error) { return p.remove(ctx, g) })
		case g.Requested:
			// Function event's.
		case isMirrored && (!mirror.follows || mirror.says == digestOf(mirrored(g))):
			record(g.ID, unchanged)
		default:
			record(g.ID, func() (step.PullResult, error) { return p.adopt(ctx, g) })
		}
	}
	return nil
}

func unchanged() (step.PullResult, error) { return step.PullUnchanged, nil }

// difference says what of a greeting is not as its instance says; empty if nothing.
func difference(g api.Greeting, want api.PutRequest) string {
	switch {
	case g.HelloTo != want.HelloTo:
		return fmt.Sprintf("hello_to of the greeting was changed to %q", g.HelloTo)
	case g.HelloFrom != want.HelloFrom:
		return fmt.Sprintf("hello_from of the greeting was changed to %q", g.HelloFrom)
	case g.Name != want.Name:
		return fmt.Sprintf("name of the greeting was changed to %q", g.Name)
	case g.Model == nil || g.Model.UID != want.Model.UID:
		return "the greeting was no longer marked as that of its model"
	case g.Generation < want.Generation:
		return fmt.Sprintf("the greeting was of generation %d, the model is of %d", g.Generation, want.Generation)
	}
	return ""
}
