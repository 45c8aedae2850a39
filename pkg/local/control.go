package local

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/xos-knative/synchronizer/pkg/local/console"
)

// controlPath is where the one address adds and removes synchronizers: POST of {"source": ...}, DELETE of the name below
// it. Both want the bearer token of the kubeconfig, which only the owner of the data directory can read.
const controlPath = "/-/synchronizers/"

// maxControl is how large a request to controlPath may be, in bytes.
const maxControl = 64 << 10

// addition is what a request to add a synchronizer says.
type addition struct {
	// Source is a name or a directory, see System.Add.
	Source string `json:"source"`
}

// control answers the requests of Remote.
func (s *System) control(w http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if subtle.ConstantTimeCompare([]byte(token), []byte(s.api.Config().BearerToken)) != 1 {
		w.Header().Set("WWW-Authenticate", "Bearer")
		http.Error(w, "expected the bearer token of the kubeconfig", http.StatusUnauthorized)
		return
	}
	name := strings.TrimPrefix(r.URL.Path, controlPath)
	var err error
	switch {
	case r.Method == http.MethodPost && name == "":
		body := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxControl))
		body.DisallowUnknownFields()
		var wanted addition
		if err := body.Decode(&wanted); err != nil || wanted.Source == "" {
			http.Error(w, `expected {"source": NAME or DIRECTORY}`, http.StatusBadRequest)
			return
		}
		err = s.Add(r.Context(), wanted.Source)
	case r.Method == http.MethodDelete && name != "":
		err = s.Remove(r.Context(), name)
	default:
		http.Error(w, "expected POST of "+controlPath+" or DELETE of "+controlPath+"NAME", http.StatusMethodNotAllowed)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	_, _ = fmt.Fprintln(w, s.summary())
}

// addressFile has the address of the System that runs over the data directory.
func (s *System) addressFile() string { return addressFile(s.o.Dir) }

func addressFile(dir string) string { return filepath.Join(dir, "address") }

func (s *System) writeAddress() error {
	if err := os.WriteFile(s.addressFile(), []byte(s.URL()+"\n"), 0o600); err != nil {
		return fmt.Errorf("cannot write where the runner is: %w", err)
	}
	return nil
}

// Remote adds and removes synchronizers of a System in another process. Make one with Connect.
type Remote struct {
	url, token string
}

// Connect finds the System that runs over the data directory that the options say.
func Connect(o Options) (*Remote, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	none := fmt.Errorf("no local runner works on %s: start one with synchronizer run, or say with --dir where its data is", o.Dir)
	// Somebody else may listen on the address of a runner that has ended, and must not be sent the token.
	if !locked(o.Dir) {
		return nil, none
	}
	address, err := os.ReadFile(addressFile(o.Dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, none
	}
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig(o.Dir))
	if err != nil {
		return nil, err
	}
	return &Remote{url: strings.TrimSpace(string(address)), token: config.BearerToken}, nil
}

// Add adds a synchronizer, see System.Add, and returns what runs then.
func (r *Remote) Add(ctx context.Context, source string) (string, error) {
	body, err := json.Marshal(addition{Source: source})
	if err != nil {
		return "", err
	}
	return r.do(ctx, http.MethodPost, controlPath, body)
}

// Remove removes a synchronizer, see System.Remove, and returns what runs then.
func (r *Remote) Remove(ctx context.Context, name string) (string, error) {
	return r.do(ctx, http.MethodDelete, controlPath+url.PathEscape(name), nil)
}

func (r *Remote) do(ctx context.Context, method, path string, body []byte) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, r.url+path, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+r.token)
	// The runner is on this machine: no proxy is between.
	resp, err := (&http.Client{Transport: &http.Transport{}}).Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	answer := console.EscapeLines(strings.TrimSpace(string(text)))
	if resp.StatusCode != http.StatusOK {
		return "", errors.New(answer)
	}
	return answer, nil
}
