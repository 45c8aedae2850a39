package function

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	duckv1 "knative.dev/pkg/apis/duck/v1"
)

// maxReason is how much of a sink's answer, in bytes, becomes part of an error.
const maxReason = 4096

// SinkSettings is what Knative's sources and SinkBindings put into the
// environment of a program that sends events.
type SinkSettings struct {
	// URL of the sink.
	URL string `envconfig:"K_SINK"`
	// Overrides are added to every event: JSON like {"extensions": {"name": "value"}}.
	Overrides Overrides `envconfig:"K_CE_OVERRIDES"`
	// Token says who sends, where sinks want to know.
	Token TokenSettings
}

// Overrides is duckv1.CloudEventOverrides as an environment variable.
type Overrides struct{ duckv1.CloudEventOverrides }

// Decode reads the value for envconfig.
func (o *Overrides) Decode(value string) error {
	if value == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(value), &o.CloudEventOverrides); err != nil {
		return fmt.Errorf(`expected JSON like {"extensions": {"name": "value"}}: %w`, err)
	}
	probe := cloudevents.NewEvent()
	for name, value := range o.Extensions {
		if err := probe.Context.SetExtension(name, value); err != nil {
			return fmt.Errorf("extensions: %q: %w", name, err)
		}
	}
	return nil
}

// TokenSource returns the token that an event is sent with, or an empty string for
// none. With an error the event is not sent.
type TokenSource func(ctx context.Context) (string, error)

// SinkOption changes a [Sink] from what its settings say.
type SinkOption func(*Sink)

// WithToken replaces where the sink's tokens come from. Default: the file of
// [TokenSettings].
func WithToken(source TokenSource) SinkOption { return func(s *Sink) { s.token = source } }

// Sink sends events to one URL. It is safe for concurrent use.
type Sink struct {
	settings SinkSettings
	token    TokenSource
	client   *http.Client
}

// NewSink checks the settings and makes a sink that keeps up to the given
// number of connections open between sends.
func NewSink(settings SinkSettings, connections int, options ...SinkOption) (*Sink, error) {
	u, err := url.Parse(settings.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("K_SINK: expected an http or https URL, got %q", settings.URL)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = connections
	s := &Sink{settings: settings, token: settings.Token.Token, client: &http.Client{
		Transport: transport,
		// A redirect can turn the POST into a GET, whose 200 says nothing about the event.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	for _, o := range options {
		o(s)
	}
	return s, nil
}

// RefusedError is a sink's answer that is not 2xx.
type RefusedError struct {
	// Code is the HTTP status.
	Code int
	// Reason is the text of the answer, 4096 bytes at most.
	Reason string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("the sink answered %d: %s", e.Code, e.Reason)
}

// Send sends an event in binary mode and returns nil when the sink has
// answered 2xx, a [RefusedError] for another answer, and any other error when
// there was none. How long it may take is the context's business.
func (s *Sink) Send(ctx context.Context, event cloudevents.Event) error {
	if len(s.settings.Overrides.Extensions) > 0 {
		event = event.Clone() // The attributes are the caller's.
	}
	for name, value := range s.settings.Overrides.Extensions {
		event.SetExtension(name, value)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.settings.URL, nil)
	if err != nil {
		return err
	}
	if err := cehttp.WriteRequest(binding.WithForceBinary(ctx), binding.ToMessage(&event), req); err != nil {
		return fmt.Errorf("encoding the event: %w", err)
	}
	token, err := s.token(ctx)
	if err != nil {
		return fmt.Errorf("getting a token for the sink: %w", err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	// Reading the answer also lets the connection be used again.
	reason, err := io.ReadAll(io.LimitReader(resp.Body, maxReason))
	if resp.StatusCode/100 == 2 {
		return nil
	}
	return errors.Join(&RefusedError{resp.StatusCode, strings.TrimSpace(string(reason))}, err)
}
