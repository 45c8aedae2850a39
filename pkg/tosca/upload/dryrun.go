package upload

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/tosca"
)

// dryRunAll has the API server check every write: schema, rules, rights, everything except storing
// it. The Errors are about the recipe, in the order of the steps; the other error is the API's.
func (u *Uploader) dryRunAll(ctx context.Context, steps []*Step) (tosca.Errors, error) {
	results := make([]tosca.Errors, len(steps))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(dryRuns)
	for i, s := range steps {
		g.Go(func() error {
			after, err := u.write(ctx, s, checked)
			if s.Action == Delete && model.IsGone(err) {
				s.Action = Absent
				return nil
			}
			if err != nil {
				results[i], err = s.explain(err)
				return err
			}
			if s.Action == Update {
				s.compare(after)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var errs tosca.Errors
	for _, r := range results {
		errs = append(errs, r...)
	}
	return errs, nil
}

// explain turns an answer of the API server about the object into errors of the recipe. Any other
// failure (rights, the API is away) is not the recipe's, and is returned as it is.
func (s *Step) explain(err error) (tosca.Errors, error) {
	n := s.Node
	what := fmt.Sprintf("%s %s %s", s.Action, s.Kind(), s.Object)
	var explained tosca.Errors
	switch {
	case errors.As(err, &explained):
		return explained, nil
	case apierrors.IsAlreadyExists(err), apierrors.IsConflict(err), apierrors.IsNotFound(err) && s.Action == Update:
		return s.changedMeanwhile(), nil
	case !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err):
		return nil, fmt.Errorf("cannot %s: %w", what, err)
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil || len(status.Status().Details.Causes) == 0 {
		return tosca.Errors{{Name: tosca.InvalidPropertyValue, Node: n.Name, Line: n.Line, Message: err.Error()}}, nil
	}
	causes := status.Status().Details.Causes
	var errs tosca.Errors
	for _, c := range causes {
		// The server only says that it did not check any further.
		if c.Field == noField && len(causes) > 1 {
			continue
		}
		e := &tosca.Error{Name: errorName(c.Type), Node: n.Name, Message: c.Message}
		e.Property, e.Line = n.PropertyAt(c.Field)
		if e.Property == "" && c.Field != "" && c.Field != noField {
			e.Message = c.Field + ": " + c.Message
		}
		e.Message = strings.TrimSpace(e.Message)
		errs = append(errs, e)
	}
	return errs, nil
}

func (s *Step) changedMeanwhile() tosca.Errors {
	return tosca.Errors{{Name: tosca.Conflict, Node: s.Node.Name, Line: s.Node.Line,
		Message: fmt.Sprintf("%s %s was changed by somebody else at the same time; try again", s.Kind(), s.Object)}}
}

// noField is the path of the API server for the object as a whole.
const noField = "<nil>"

func errorName(cause metav1.CauseType) string {
	switch cause {
	case metav1.CauseTypeFieldValueRequired:
		return tosca.MissingRequiredField
	case metav1.CauseTypeTypeInvalid:
		return tosca.TypeMismatch
	}
	return tosca.InvalidPropertyValue
}
