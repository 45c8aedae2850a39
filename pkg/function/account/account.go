// Package account says which service account a program works as, and gets tokens
// for it. Both are questions to the Kubernetes API, so that no file has to be
// mounted and no setting can be wrong.
//
// [Of] names the account behind a client, [Tokens] gets tokens that tell others
// who the program is. Start reading with [Of].
package account

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"
	"k8s.io/utils/ptr"
)

// ErrNone says that a client is not a service account.
var ErrNone = errors.New("not a service account")

// usernamePrefix and the namespace and name of a service account, separated by
// a colon, are the name that the API gives the account.
const usernamePrefix = "system:serviceaccount:"

// Of returns the service account that the client works as, as the API knows it
// (SelfSubjectReview). Everybody who is authenticated has the right to ask. The
// error wraps [ErrNone] if the client is somebody else, and is NotFound if the
// API does not answer this question.
func Of(ctx context.Context, client dynamic.Interface) (types.NamespacedName, error) {
	var review authenticationv1.SelfSubjectReview
	review.SetGroupVersionKind(authenticationv1.SchemeGroupVersion.WithKind("SelfSubjectReview"))
	err := create(ctx, client.Resource(authenticationv1.SchemeGroupVersion.WithResource("selfsubjectreviews")), &review)
	if err != nil {
		return types.NamespacedName{}, fmt.Errorf("asking the API who is asking: %w", err)
	}
	user := review.Status.UserInfo.Username
	account, ok := strings.CutPrefix(user, usernamePrefix)
	namespace, name, both := strings.Cut(account, ":")
	if !ok || !both {
		return types.NamespacedName{}, fmt.Errorf("user %q: %w", user, ErrNone)
	}
	return types.NamespacedName{Namespace: namespace, Name: name}, nil
}

const (
	// lifetime is what a token is asked for. The API may decide otherwise.
	lifetime = time.Hour
	// reserve is how long a token is still good for when it is replaced.
	reserve = 5 * time.Minute
	// remembered is for how many audiences tokens are kept.
	remembered = 256
)

// Tokens gets tokens of the service account that a program works as. The account
// needs the right to create serviceaccounts/token for itself. Safe for concurrent
// use. Make one with [NewTokens].
type Tokens struct {
	client dynamic.Interface
	clock  clock.PassiveClock
	// account is nil until the API was asked for it.
	account atomic.Pointer[types.NamespacedName]
	// byAudience has a TokenRequestStatus for each audience.
	byAudience *lru.Cache
}

// NewTokens makes tokens for the account that the client works as. A nil clock
// is the system's.
func NewTokens(client dynamic.Interface, c clock.PassiveClock) *Tokens {
	if c == nil {
		c = clock.RealClock{}
	}
	return &Tokens{client: client, clock: c, byAudience: lru.New(remembered)}
}

// For returns a token that only the audience accepts. It asks the API when it
// has no token that is good for another 5 minutes.
func (t *Tokens) For(ctx context.Context, audience string) (string, error) {
	if kept, ok := t.byAudience.Get(audience); ok {
		kept := kept.(authenticationv1.TokenRequestStatus)
		if t.clock.Now().Add(reserve).Before(kept.ExpirationTimestamp.Time) {
			return kept.Token, nil
		}
	}
	account, err := t.self(ctx)
	if err != nil {
		return "", err
	}
	request := authenticationv1.TokenRequest{
		ObjectMeta: metav1.ObjectMeta{Namespace: account.Namespace, Name: account.Name},
		Spec:       authenticationv1.TokenRequestSpec{Audiences: []string{audience}, ExpirationSeconds: ptr.To(int64(lifetime.Seconds()))},
	}
	request.SetGroupVersionKind(authenticationv1.SchemeGroupVersion.WithKind("TokenRequest"))
	accounts := t.client.Resource(corev1.SchemeGroupVersion.WithResource("serviceaccounts")).Namespace(account.Namespace)
	if err := create(ctx, accounts, &request, "token"); err != nil {
		return "", fmt.Errorf("getting a token of service account %s for audience %s: %w", account, audience, err)
	}
	t.byAudience.Add(audience, request.Status)
	return request.Status.Token, nil
}

func (t *Tokens) self(ctx context.Context) (types.NamespacedName, error) {
	if known := t.account.Load(); known != nil {
		return *known, nil
	}
	account, err := Of(ctx, t.client)
	if err != nil {
		return account, err
	}
	t.account.Store(&account)
	return account, nil
}

// create sends a request object and fills it with the answer. The clients of
// client-go that have types for these objects would link the types of all
// Kubernetes APIs, which every function would have to load.
func create(ctx context.Context, resource dynamic.ResourceInterface, request any, subresource ...string) error {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(request)
	if err != nil {
		return err
	}
	answer, err := resource.Create(ctx, &unstructured.Unstructured{Object: content}, metav1.CreateOptions{}, subresource...)
	if err != nil {
		return err
	}
	return runtime.DefaultUnstructuredConverter.FromUnstructured(answer.Object, request)
}
