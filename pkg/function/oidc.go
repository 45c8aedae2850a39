package function

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/coreos/go-oidc/v3/oidc"
	"k8s.io/client-go/rest"
)

// SenderSettings say whose events a function takes. With an audience, every request must carry a
// token that the cluster issued for that audience: Knative's brokers send one when the feature
// authentication-oidc is on and the Trigger's subscriber names the audience.
type SenderSettings struct {
	// Audience that the token must be for. Default: none, and everybody is let in.
	Audience string `envconfig:"OIDC_AUDIENCE"`
	// Subjects that are let in, separated by commas, for example
	// system:serviceaccount:NAMESPACE:sync-oidc-eventing.knative.dev-trigger. Default: everybody
	// who has a token for the audience is let in.
	Subjects []string `envconfig:"OIDC_SUBJECTS"`
}

// verifier checks who sent a request. See [SenderSettings].
type verifier struct {
	settings SenderSettings
	config   *rest.Config

	// mu protects following.
	mu     sync.Mutex
	tokens *oidc.IDTokenVerifier
}

// newVerifier reads [SenderSettings]. It returns nil if there is no audience. The first request
// makes it ask the Kubernetes API for the issuer's keys.
func newVerifier() (*verifier, error) {
	settings, err := Env[SenderSettings]()
	if err != nil || settings.Audience == "" {
		return nil, err
	}
	config, err := KubeConfig()
	if err != nil {
		return nil, fmt.Errorf("OIDC_AUDIENCE is set: %w", err)
	}
	return &verifier{settings: settings, config: config}, nil
}

// refusal says why a request is not let in.
type refusal struct {
	code   int
	reason string
}

// listed reports whether the account is one of $OIDC_SUBJECTS.
func (v *verifier) listed(_ *http.Request, subject string) bool {
	return len(v.settings.Subjects) == 0 || slices.Contains(v.settings.Subjects, subject)
}

// check checks the token of the request: 401 without a valid one, 403 for an account
// that is not allowed (nil: not listed), 503 while the issuer's keys cannot be had.
func (v *verifier) check(r *http.Request, allowed func(*http.Request, string) bool) *refusal {
	if allowed == nil {
		allowed = v.listed
	}
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return &refusal{http.StatusUnauthorized, "Authorization: expected a bearer token for audience " + v.settings.Audience}
	}
	tokens, err := v.issuer(r.Context())
	if err != nil {
		return unavailable(err)
	}
	var noKeys error
	id, err := tokens.Verify(context.WithValue(r.Context(), noKeysKey{}, &noKeys), strings.TrimSpace(token))
	if noKeys != nil {
		return unavailable(noKeys)
	}
	if err != nil {
		return &refusal{http.StatusUnauthorized, "Authorization: " + oneLine(err)}
	}
	if !allowed(r, id.Subject) {
		return &refusal{http.StatusForbidden, "subject " + id.Subject + " may not send to this function"}
	}
	return nil
}

func unavailable(err error) *refusal {
	return &refusal{http.StatusServiceUnavailable, "the keys of the token issuer are not available: " + oneLine(err)}
}

// remoteKeys reports to check, through the context, that keys could not be fetched. The verifier's
// error is the same for that and for a wrong signature, but a broker must try again only after the
// first.
type remoteKeys struct{ oidc.KeySet }

type noKeysKey struct{}

// VerifySignature implements oidc.KeySet.
func (k remoteKeys) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	payload, err := k.KeySet.VerifySignature(ctx, jwt)
	if noKeys, ok := ctx.Value(noKeysKey{}).(*error); ok && err != nil && strings.HasPrefix(err.Error(), "fetching keys") {
		*noKeys = err
	}
	return payload, err
}

// issuer discovers the cluster's token issuer once.
func (v *verifier) issuer(ctx context.Context) (*oidc.IDTokenVerifier, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.tokens != nil {
		return v.tokens, nil
	}
	client, err := rest.HTTPClientFor(v.config)
	if err != nil {
		return nil, err
	}
	base := strings.TrimSuffix(v.config.Host, "/")
	issuer, err := discoverIssuer(ctx, client, base)
	if err != nil {
		return nil, err
	}
	// The tokens have the issuer's name; its keys come from the API server that this function uses
	// anyway. The provider fetches keys later too, so it must not end with this request.
	keys := oidc.ClientContext(context.WithoutCancel(ctx), client)
	v.tokens = oidc.NewVerifier(issuer, remoteKeys{oidc.NewRemoteKeySet(keys, base+"/openid/v1/jwks")},
		&oidc.Config{ClientID: v.settings.Audience, SupportedSigningAlgs: []string{oidc.RS256, oidc.ES256, oidc.ES384, oidc.ES512}})
	return v.tokens, nil
}

func discoverIssuer(ctx context.Context, client *http.Client, base string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/.well-known/openid-configuration", nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("GET %s: expected 200, got %s", req.URL, resp.Status)
	}
	var discovery struct {
		Issuer string `json:"issuer"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&discovery); err != nil {
		return "", fmt.Errorf("GET %s: %w", req.URL, err)
	}
	return discovery.Issuer, nil
}
