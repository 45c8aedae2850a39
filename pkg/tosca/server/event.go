package server

import (
	"context"
	"encoding/json"
	"net/http"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/protocol"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/tosca/upload"
)

// EventRecipe is the type of a CloudEvent whose data is a recipe, to be done as by POST /run.
const EventRecipe = "dev.xos-knative.tosca.recipe"

type uploaderKey struct{}

// event handles a recipe that comes as a CloudEvent, in either content mode, with the recipe as text or as a JSON string.
//
// The sender has to show a bearer token as everybody else. Knative's Triggers send none (or, with OIDC, one that is good for
// this function only and not for the Kubernetes API), so behind a Trigger there has to be something that adds it; without it
// the answer is 401, which no broker tries again.
//
// A bad recipe is answered with 422, which goes to the dead letter at once, with all of its errors as the reason.
func (s *server) event() (http.HandlerFunc, error) {
	events, err := function.Events(s.handleEvent)
	if err != nil {
		return nil, err
	}
	return func(w http.ResponseWriter, r *http.Request) {
		u, err := s.uploader(r, s.Namespace)
		if err != nil {
			respondError(w, r, err)
			return
		}
		events.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), uploaderKey{}, u)))
	}, nil
}

func (s *server) handleEvent(ctx context.Context, event cloudevents.Event) (*cloudevents.Event, protocol.Result) {
	if event.Type() != EventRecipe {
		return nil, function.Unprocessable("type is %q; expected %q", event.Type(), EventRecipe)
	}
	u, ok := ctx.Value(uploaderKey{}).(*upload.Uploader)
	if !ok {
		return nil, cehttp.NewResult(http.StatusUnauthorized, "no token")
	}
	_, err := s.work(ctx, u, run, recipeOf(event), arguments{namespace: s.Namespace})
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

// recipeOf also takes the recipe as a JSON string: it is what becomes of text that is put into a structured event without a
// datacontenttype.
func recipeOf(event cloudevents.Event) []byte {
	var text string
	if err := json.Unmarshal(event.Data(), &text); err == nil {
		return []byte(text)
	}
	return event.Data()
}
