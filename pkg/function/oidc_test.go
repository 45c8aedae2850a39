package function

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/protocol"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// issuer is a cluster as far as tokens go: an API server with its two documents, and the key it
// signs with.
type issuer struct {
	*httptest.Server
	key *rsa.PrivateKey
	// noDiscovery and noKeys make the documents fail.
	noDiscovery, noKeys atomic.Bool
}

const (
	issuerName = "https://kubernetes.default.svc"
	audience   = "sync"
	trigger    = "system:serviceaccount:helloworld:sync-oidc-eventing.knative.dev-trigger"
)

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{key: key}
	mux := http.NewServeMux()
	serve := func(path string, broken *atomic.Bool, document any) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			if broken.Load() {
				http.Error(w, "down", http.StatusInternalServerError)
				return
			}
			if r.Header.Get("Authorization") != "Bearer functions-own" {
				t.Errorf("GET %s: the function must come as itself, got %q", path, r.Header.Get("Authorization"))
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(document)
		})
	}
	serve("/.well-known/openid-configuration", &i.noDiscovery, map[string]string{"issuer": issuerName})
	serve("/openid/v1/jwks", &i.noKeys, map[string]any{"keys": []any{map[string]string{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "k1", "n": text(key.N.Bytes()), "e": text(big.NewInt(int64(key.E)).Bytes())}}})
	i.Server = httptest.NewTLSServer(mux)
	t.Cleanup(i.Close)
	return i
}

// kubeconfig writes a kubeconfig for the issuer and points KUBECONFIG at it.
func (i *issuer) kubeconfig(t *testing.T) {
	t.Helper()
	c := clientcmdapi.NewConfig()
	c.Clusters["c"] = &clientcmdapi.Cluster{Server: i.URL,
		CertificateAuthorityData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Certificate().Raw})}
	c.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: "functions-own"}
	c.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	c.CurrentContext = "x"
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*c, file); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", file)
}

// claims of a good token.
func claims(edits ...func(map[string]any)) map[string]any {
	c := map[string]any{"iss": issuerName, "sub": trigger, "aud": []string{audience}, "exp": time.Now().Add(time.Hour).Unix()}
	for _, e := range edits {
		e(c)
	}
	return c
}

func with(name string, value any) func(map[string]any) {
	return func(c map[string]any) { c[name] = value }
}

// text is how a JSON Web Token writes bytes.
func text(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

// sign makes a JSON Web Token with whatever key is at hand.
func sign(t *testing.T, key any, kid string, claims map[string]any) string {
	t.Helper()
	header := map[string]string{"typ": "JWT", "kid": kid}
	switch key.(type) {
	case *rsa.PrivateKey:
		header["alg"] = "RS256"
	case *ecdsa.PrivateKey:
		header["alg"] = "ES256"
	case []byte:
		header["alg"] = "HS256"
	}
	h, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	c, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed := text(h) + "." + text(c)
	digest := sha256.Sum256([]byte(signed))
	var signature []byte
	switch key := key.(type) {
	case *rsa.PrivateKey:
		signature, err = rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	case *ecdsa.PrivateKey:
		var r, s *big.Int
		r, s, err = ecdsa.Sign(rand.Reader, key, digest[:])
		if err == nil {
			signature = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		}
	case []byte:
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(signed))
		signature = mac.Sum(nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + text(signature)
}

func (i *issuer) token(t *testing.T, claims map[string]any) string {
	return sign(t, i.key, "k1", claims)
}

func TestSenderIdentity(t *testing.T) {
	i := newIssuer(t)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		reason   string
		subjects string
		header   string
		code     int
		says     string
	}{
		"Right":         {reason: "The Trigger's token lets in.", header: "Bearer " + i.token(t, claims()), code: 200},
		"RightSubject":  {reason: "Also when only some may send.", subjects: "somebody," + trigger, header: "Bearer " + i.token(t, claims()), code: 200},
		"LowerCase":     {reason: "The scheme has no case.", header: "bearer " + i.token(t, claims()), code: 200},
		"None":          {reason: "Without a token nobody is let in.", code: 401, says: "expected a bearer token for audience sync"},
		"Basic":         {reason: "Another scheme is no token.", header: "Basic YTpi", code: 401, says: "expected a bearer token"},
		"Empty":         {reason: "Nor is nothing.", header: "Bearer ", code: 401, says: "expected a bearer token"},
		"Garbage":       {reason: "Nor is anything.", header: "Bearer abc", code: 401, says: "Authorization"},
		"OtherAudience": {reason: "A token for another function is not for this one.", header: "Bearer " + i.token(t, claims(with("aud", []string{"policy"}))), code: 401, says: "audience"},
		"OtherIssuer":   {reason: "Nor is one of another cluster.", header: "Bearer " + i.token(t, claims(with("iss", "https://other"))), code: 401, says: "issue"},
		"Expired":       {reason: "Nor is an old one.", header: "Bearer " + i.token(t, claims(with("exp", time.Now().Add(-time.Hour).Unix()))), code: 401, says: "expired"},
		"OtherKey":      {reason: "Nor is one that somebody else has signed.", header: "Bearer " + sign(t, other, "k1", claims()), code: 401, says: "signature"},
		"UnknownKey":    {reason: "With whatever key id.", header: "Bearer " + sign(t, other, "k2", claims()), code: 401, says: "signature"},
		"Symmetric":     {reason: "Nor one signed with what everybody knows.", header: "Bearer " + sign(t, []byte(strings.Repeat("k", 32)), "k1", claims()), code: 401, says: "algorithm"},
		"OtherSubject":  {reason: "A good token of somebody else is refused.", subjects: "somebody", header: "Bearer " + i.token(t, claims()), code: 403, says: trigger},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			i.kubeconfig(t)
			t.Setenv("OIDC_AUDIENCE", audience)
			t.Setenv("OIDC_SUBJECTS", tt.subjects)
			called := false
			h, err := Events(func(context.Context, cloudevents.Event) (*cloudevents.Event, protocol.Result) {
				called = true
				return nil, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			r := request(`{}`, binary...)
			if tt.header != "" {
				r.Header.Set("Authorization", tt.header)
			}
			resp, body := send(t, h, r)
			if resp.StatusCode != tt.code || called != (tt.code == 200) || !strings.Contains(body, tt.says) {
				t.Errorf("\n%s\nwant %d with %q, got %d %q, handled: %v", tt.reason, tt.code, tt.says, resp.StatusCode, body, called)
			}
			if (resp.Header.Get("WWW-Authenticate") != "") != (tt.code == 401) {
				t.Errorf("got WWW-Authenticate %q", resp.Header.Get("WWW-Authenticate"))
			}
			if strings.Contains(body, "eyJ") {
				t.Errorf("a token must not be repeated: %s", body)
			}
		})
	}
}

func TestSendersOfTheRequest(t *testing.T) {
	i := newIssuer(t)
	i.kubeconfig(t)
	t.Setenv("OIDC_AUDIENCE", audience)
	t.Setenv("OIDC_SUBJECTS", "somebody")
	for path, code := range map[string]int{"/helloworld": 200, "/library": 403} {
		h, err := Events(func(context.Context, cloudevents.Event) (*cloudevents.Event, protocol.Result) { return nil, nil },
			WithSenders(func(r *http.Request, subject string) bool {
				return strings.HasPrefix(subject, "system:serviceaccount:"+strings.TrimPrefix(r.URL.Path, "/")+":")
			}))
		if err != nil {
			t.Fatal(err)
		}
		r := request(`{}`, append(binary, "Authorization: Bearer "+i.token(t, claims()))...)
		r.URL.Path = path
		if resp, body := send(t, h, r); resp.StatusCode != code {
			t.Errorf("%s: the handler's own rule decides: want %d, got %d %q", path, code, resp.StatusCode, body)
		}
	}
}

func TestIssuerDown(t *testing.T) {
	tests := map[string]struct {
		reason string
		broken func(*issuer) *atomic.Bool
	}{
		"Discovery": {"Who issues cannot be known.", func(i *issuer) *atomic.Bool { return &i.noDiscovery }},
		"Keys":      {"A token cannot be checked without keys; it may well be good.", func(i *issuer) *atomic.Bool { return &i.noKeys }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			i := newIssuer(t)
			i.kubeconfig(t)
			t.Setenv("OIDC_AUDIENCE", audience)
			h, err := Events(func(context.Context, cloudevents.Event) (*cloudevents.Event, protocol.Result) { return nil, nil })
			if err != nil {
				t.Fatal(err)
			}
			r := func() *http.Request {
				return request(`{}`, append(binary, "Authorization: Bearer "+i.token(t, claims()))...)
			}
			tt.broken(i).Store(true)
			resp, body := send(t, h, r())
			if resp.StatusCode != 503 || !strings.Contains(body, "keys of the token issuer") {
				t.Errorf("\n%s\nwant 503, so that the broker delivers again, got %d %q", tt.reason, resp.StatusCode, body)
			}
			tt.broken(i).Store(false)
			if resp, body := send(t, h, r()); resp.StatusCode != 200 {
				t.Errorf("the issuer is back: got %d %q", resp.StatusCode, body)
			}
			// What was learnt stays.
			i.noDiscovery.Store(true)
			i.noKeys.Store(true)
			if resp, body := send(t, h, r()); resp.StatusCode != 200 {
				t.Errorf("known keys must do while the issuer is away: got %d %q", resp.StatusCode, body)
			}
		})
	}
}

func TestNoIssuerAtAll(t *testing.T) {
	t.Setenv("OIDC_AUDIENCE", audience)
	t.Setenv("HOME", t.TempDir())
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	if _, err := Events(nil); err == nil || !strings.Contains(err.Error(), "OIDC_AUDIENCE") || !strings.Contains(err.Error(), "KUBECONFIG") {
		t.Errorf("an audience without a cluster must not let everybody in, got %v", err)
	}
	file := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", file)
	if _, err := KubeConfig(); err == nil {
		t.Error("a file that cannot be read must be an error")
	}
}
