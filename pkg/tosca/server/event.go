package server

import (
	"context"
	"encoding/json"
	"net/http"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/protocol"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/cloudevents/sdk-go/v2/types"

	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/tosca"
)

// EventRecipe is the type of a CloudEvent whose data is a recipe, to be done as by POST /run.
const EventRecipe = "dev.xos-knative.tosca.recipe"

// extensionNamespace is the attribute of such an event that says where its models go.
const extensionNamespace = "namespace"

// sender is what is known about an event before it is read.
type sender struct {
	*caller
	// namespace of the query, empty if it has none.
	asked string
}

type senderKey struct{}

// event handles a recipe that comes as a CloudEvent, in either content mode, with the recipe as
// text or as a JSON string. Its attribute namespace or the query says where its models go.
//
// The sender needs a bearer token like everybody. Knative's Triggers send none (or, with OIDC, one
// that is for this function and not for the Kubernetes API), so something behind a Trigger has to
// add it. Without it the answer is 401, after which no broker tries again.
//
// A bad recipe is answered with 422, which makes a broker give the event up at once, with all
// errors as the reason.
func (s *server) event() (handler, error) {
	events, err := function.Events(handleEvent)
	if err != nil {
		return nil, err
	}
	return func(w http.ResponseWriter, r *http.Request) error {
		args, err := parseArguments(r.URL.RawQuery)
		if err != nil {
			return err
		}
		if args.dryRun || args.wait > 0 {
			return badRequest(tosca.InvalidArgument, "dry-run and wait are not for events; use POST /run")
		}
		c, err := s.caller(r)
		if err != nil {
			return err
		}
		events.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), senderKey{}, sender{c, args.namespace})))
		return nil
	}, nil
}

func handleEvent(ctx context.Context, event cloudevents.Event) (*cloudevents.Event, protocol.Result) {
	if event.Type() != EventRecipe {
		return nil, function.Unprocessable("type is %q; expected %q", event.Type(), EventRecipe)
	}
	err := ctx.Value(senderKey{}).(sender).do(ctx, event)
	if err == nil {
		return nil, nil
	}
	f := failureOf(err)
	f.log(ctx, err)
	if f.status == http.StatusBadRequest || f.status == http.StatusRequestEntityTooLarge {
		f.status = http.StatusUnprocessableEntity
	}
	return nil, cehttp.NewResult(f.status, "%s", f.Error())
}

func (s sender) do(ctx context.Context, event cloudevents.Event) error {
	asked := s.asked
	if attribute, ok := event.Extensions()[extensionNamespace]; ok {
		text, err := types.Format(attribute)
		if err != nil {
			return badRequest(tosca.InvalidArgument, "namespace: "+err.Error())
		}
		if text, err = namespace(text); err != nil {
			return err
		}
		if asked != "" && asked != text {
			return badRequest(tosca.InvalidArgument, "namespace: the query says "+asked+" and the event says "+text+"; expected one of them")
		}
		asked = text
	}
	in, err := s.namespace(ctx, asked)
	if err != nil {
		return err
	}
	_, err = s.work(ctx, run, recipeOf(event), arguments{namespace: in})
	return err
}

// recipeOf also takes the recipe as a JSON string: a structured event without a datacontenttype has
// its text like that.
func recipeOf(event cloudevents.Event) []byte {
	var text string
	if err := json.Unmarshal(event.Data(), &text); err == nil {
		return []byte(text)
	}
	return event.Data()
}
