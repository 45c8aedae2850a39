package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/function/account"
	"github.com/xos-knative/synchronizer/pkg/tosca"
	"github.com/xos-knative/synchronizer/pkg/tosca/upload"
)

// caller is somebody whose token the API has accepted.
type caller struct {
	api *upload.Uploader
	// types are what the caller's recipes can use.
	types *tosca.Types
}

// caller finds out who sends the request. It asks the API and does not look at the body: a stranger's recipe is not worth
// reading.
func (s *server) caller(r *http.Request) (*caller, error) {
	token, err := s.token(r)
	if err != nil {
		return nil, err
	}
	api, err := upload.New(s.API, token)
	if err != nil {
		return nil, err
	}
	// Reading the types is the question: everybody who may upload anything may read them.
	types, err := api.Types(r.Context())
	if err != nil {
		return nil, err
	}
	return &caller{api: api, types: types}, nil
}

// namespace is where the caller's models go: where the request says, otherwise to the namespace of the caller's service
// account.
func (c *caller) namespace(ctx context.Context, asked string) (string, error) {
	if asked != "" {
		return asked, nil
	}
	self, err := c.api.Account(ctx)
	switch {
	case err == nil:
		return self.Namespace, nil
	case errors.Is(err, account.ErrNone):
		return "", badRequest(tosca.InvalidArgument, fmt.Sprintf("namespace: expected ?namespace=NAME, since your token has no namespace: %v", err))
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err):
		return "", badRequest(tosca.InvalidArgument, "namespace: expected ?namespace=NAME, since this Kubernetes API does not say whose token yours is")
	}
	return "", err
}

// work does what a recipe says. It returns a result, or an error whose failure says how to answer.
func (c *caller) work(ctx context.Context, do action, recipe []byte, args arguments) (*result, error) {
	parsed, err := tosca.Parse(recipe)
	if err != nil {
		return nil, err
	}
	u := c.api.In(args.namespace)
	nodes, errs := tosca.Check(parsed, c.types)
	plan, planErrs, err := do.plan(u, ctx, nodes)
	if err != nil {
		return nil, err
	}
	if errs = append(errs, planErrs...); len(errs) > 0 {
		errs.Sort()
		return nil, errs
	}
	res := &result{action: do, plan: plan, dryRun: args.dryRun, waited: args.wait}
	if args.dryRun {
		return res, nil
	}
	if err := u.Apply(ctx, plan); err != nil {
		return nil, err
	}
	logging.FromContext(ctx).Infow("Recipe done", zap.String("action", do.name), zap.String("namespace", args.namespace),
		zap.Int("nodes", len(plan.Steps)), zap.Int("written", plan.Writes()))
	if args.wait > 0 {
		res.pending = wait(ctx, u, plan, args.wait)
	}
	return res, nil
}

func wait(ctx context.Context, u *upload.Uploader, plan *upload.Plan, most time.Duration) []upload.Pending {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	return u.Wait(ctx, plan)
}
