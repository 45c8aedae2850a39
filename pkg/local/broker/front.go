package broker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/xos-knative/synchronizer/pkg/function"
)

// MaxEvent is the largest event that a Broker takes, in bytes: 16 MiB. Knative's ingress has no limit but its
// memory, which here is everybody's.
const MaxEvent = 16 << 20

// front keeps from Knative's ingress (0.50) what it has no answer for. It answers a body that breaks off with 500, as if
// that were its own failure, and hangs up without an answer on what makes the SDK panic: a header "ce-", or data_base64
// that is a number. Here both are 400. All else is the ingress's to judge.
func front(ingress http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			ingress.ServeHTTP(w, r) // It does not look at the body.
			return
		}
		body, err := function.Body(w, r, MaxEvent)
		if refused := (*function.BodyError)(nil); errors.As(err, &refused) {
			http.Error(w, refused.Reason, refused.Code)
			return
		}
		if len(body) > 0 {
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		defer func() {
			if p := recover(); p != nil && p != http.ErrAbortHandler {
				http.Error(w, fmt.Sprintf("not a CloudEvent: %v", p), http.StatusBadRequest)
			}
		}()
		ingress.ServeHTTP(w, r)
	})
}
