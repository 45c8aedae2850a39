package main

import (
	"context"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/client"
	"github.com/xos-knative/synchronizer/functions/helloworld/internal/hello"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// parallel is how many greetings are worked on at once. A greeter that has lost its disk makes
// thousands of them due.
const parallel = 8

// Greetings compares the greeter's greetings with the models:
//
//   - a greeting of the greeter's own becomes an instance with no-sync, its mirror. The greetings
//     that its users requested are left out: function event makes an instance of each. So are those of
//     unwelcome guests: the policy would delete the mirror, and each round would make it again;
//   - a greeting whose instance is gone is removed;
//   - an instance whose greeting is missing or different is synced again: the model decides.
//
// Both sides can change while they are read. So a difference is only a reason to look: each record
// reads both sides again before it writes.
type Greetings struct {
	Models  *model.Client
	Greeter *client.Client
	// Namespace of the models. Greetings of models in other namespaces are left alone.
	Namespace string
}

var _ step.Puller = Greetings{}

// recorder calls fn, which does what one greeting needs, and counts its result.
type recorder func(greetingID string, fn func() (step.PullResult, error))

// Pull runs one round.
func (p Greetings) Pull(ctx context.Context, round *step.Round) error {
	known, err := p.index(ctx)
	if err != nil {
		return err
	}
	var work errgroup.Group
	work.SetLimit(parallel)
	record := func(greetingID string, fn func() (step.PullResult, error)) {
		work.Go(func() error {
			round.Record(greetingID, fn)
			return nil
		})
	}
	err = p.compare(ctx, known, record)
	for uid, i := range known.ours {
		// A list that breaks off does not say which greetings are missing.
		if err == nil && i.want != nil && !i.seen {
			record(string(uid), func() (step.PullResult, error) { return p.repair(ctx, i.name, uid) })
		}
	}
	_ = work.Wait() // The round has counted the errors.
	return err
}

// compare goes over the greetings, page by page.
func (p Greetings) compare(ctx context.Context, known *index, record recorder) error {
	for g, err := range p.Greeter.All(ctx, client.ListOptions{}) {
		if err != nil {
			return err
		}
		ours, isOurs := known.ours[types.UID(g.ID)]
		mirror, isMirrored := known.mirrors[g.ID]
		switch {
		case isOurs:
			ours.seen = true
			if ours.want == nil || difference(&g, ours.want) == "" {
				record(g.ID, unchanged)
				continue
			}
			record(g.ID, func() (step.PullResult, error) { return p.repair(ctx, ours.name, types.UID(g.ID)) })
		case g.Model != nil && (g.Model.Namespace != p.Namespace || g.Model.UID != g.ID):
			// It belongs to another synchronizer.
		case g.Model != nil:
			record(g.ID, func() (step.PullResult, error) { return p.remove(ctx, g) })
		case g.Requested:
			// It belongs to function event.
		case isMirrored && (!mirror.follows || mirror.shows == shown(g)):
			record(g.ID, unchanged)
		case !isMirrored && hello.Unwelcome(g.HelloTo):
			logging.FromContext(ctx).Infow("Not adopted: the policy would delete its mirror", zap.String("greeting", g.ID), zap.String("helloTo", g.HelloTo))
			record(g.ID, unchanged)
		default:
			record(g.ID, func() (step.PullResult, error) { return p.adopt(ctx, g) })
		}
	}
	return nil
}

func unchanged() (step.PullResult, error) { return step.PullUnchanged, nil }
