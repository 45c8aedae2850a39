package account

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"
)

// api is as much of a Kubernetes API as this package asks for.
type api struct {
	// user is who asks.
	user string
	// lifetime of its tokens.
	lifetime time.Duration
	clock    *clocktesting.FakeClock
	// reviews and tokens count the requests.
	reviews, tokens atomic.Int64
}

func (a *api) client(t *testing.T) dynamic.Interface {
	t.Helper()
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	client, err := dynamic.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch {
	case r.URL.Path == "/apis/authentication.k8s.io/v1/selfsubjectreviews" && a.user != "":
		a.reviews.Add(1)
		_, _ = fmt.Fprintf(w, `{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "status": {"userInfo": {"username": %q}}}`, a.user)
	case r.URL.Path == "/api/v1/namespaces/ns/serviceaccounts/me/token":
		var request authenticationv1.TokenRequest
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil || r.Method != http.MethodPost {
			http.Error(w, "no token request", http.StatusBadRequest)
			return
		}
		request.Status.Token = fmt.Sprintf("%s#%d", request.Spec.Audiences[0], a.tokens.Add(1))
		request.Status.ExpirationTimestamp.Time = a.clock.Now().Add(a.lifetime)
		_ = json.NewEncoder(w).Encode(request)
	default:
		w.WriteHeader(http.StatusNotFound)
		_, _ = fmt.Fprint(w, `{"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}`)
	}
}

func TestOf(t *testing.T) {
	tests := map[string]struct {
		reason string
		user   string
		want   types.NamespacedName
		is     func(error) bool
	}{
		"Account": {
			reason: "The API's name of an account has its namespace and its name.",
			user:   "system:serviceaccount:ns:me", want: types.NamespacedName{Namespace: "ns", Name: "me"},
		},
		"User":      {reason: "A person is no account.", user: "alice", is: func(err error) bool { return errors.Is(err, ErrNone) && strings.Contains(err.Error(), "alice") }},
		"Malformed": {reason: "Half a name is none.", user: "system:serviceaccount:ns", is: func(err error) bool { return errors.Is(err, ErrNone) }},
		"Silent":    {reason: "An API that does not know the question is told apart.", is: apierrors.IsNotFound},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Of(t.Context(), (&api{user: tt.user}).client(t))
			if tt.is == nil && err != nil || tt.is != nil && (err == nil || !tt.is(err)) {
				t.Errorf("%s: got the error %v", tt.reason, err)
			}
			if got != tt.want {
				t.Errorf("%s: want %v, got %v", tt.reason, tt.want, got)
			}
		})
	}
}

func TestTokens(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Now())
	a := &api{user: "system:serviceaccount:ns:me", lifetime: time.Hour, clock: clock}
	tokens := NewTokens(a.client(t), clock)
	for _, step := range []struct {
		reason, audience string
		after            time.Duration
		want             string
	}{
		{"The first token is asked for.", "one", 0, "one#1"},
		{"It is used again.", "one", 54 * time.Minute, "one#1"},
		{"Each audience has a token of its own.", "two", 0, "two#2"},
		{"Before a token ends there is a new one.", "one", 2 * time.Minute, "one#3"},
		{"Which is used again as well.", "one", 0, "one#3"},
	} {
		clock.Step(step.after)
		got, err := tokens.For(t.Context(), step.audience)
		if err != nil || got != step.want {
			t.Errorf("%s: want %s, got %s, %v", step.reason, step.want, got, err)
		}
	}
	if n := a.reviews.Load(); n != 1 {
		t.Errorf("a program does not change its account: want 1 question for it, got %d", n)
	}
}

func TestTokensRefused(t *testing.T) {
	tests := map[string]struct {
		reason, user, says string
	}{
		"NoAccount": {"Without an account there is no token.", "alice", "not a service account"},
		"NoRight":   {"The error says whose token for whom.", "system:serviceaccount:ns:other", "ns/other for audience one"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := NewTokens((&api{user: tt.user}).client(t), nil).For(t.Context(), "one")
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%s: want an error with %q, got %v", tt.reason, tt.says, err)
			}
		})
	}
}
