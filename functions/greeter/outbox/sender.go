package outbox

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/xos-knative/synchronizer/functions/greeter/api"
	"github.com/xos-knative/synchronizer/functions/greeter/store"
	"github.com/xos-knative/synchronizer/pkg/function"
)

// partitionKey is the CloudEvents extension by which an ordered broker keeps the order of the events of a greeting.
const partitionKey = "partitionkey"

// maxReason is how much of a refusal, in bytes, goes to the log.
const maxReason = 512

type sender struct {
	sink       string
	source     string
	timeout    time.Duration
	extensions map[string]string
	token      function.TokenSettings
	client     *http.Client
}

func newSender(c Config, extensions map[string]string) *sender {
	return &sender{
		sink: c.Sink, source: c.Source, timeout: c.Timeout, extensions: extensions, token: c.Token,
		client: &http.Client{
			Transport: newTransport(c.Workers),
			// A redirect can turn the POST into a GET, whose 200 says nothing about the event.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// event that tells of the entry. The same entry always gives the same event, so that who gets it twice can see that.
func (s *sender) event(e store.Entry) (cloudevents.Event, error) {
	event := cloudevents.NewEvent()
	event.SetID(fmt.Sprintf("%s/%d", e.GreetingID, e.Seq))
	event.SetType(api.TypeRequested)
	event.SetSource(s.source)
	event.SetSubject(e.GreetingID)
	event.SetTime(e.AcceptedAt)
	event.SetExtension(partitionKey, e.GreetingID)
	for name, value := range s.extensions {
		event.SetExtension(name, value)
	}
	if err := event.SetData(cloudevents.ApplicationJSON, e.Request); err != nil {
		return event, err
	}
	return event, event.Validate()
}

// send returns nil if the sink answered 2xx.
func (s *sender) send(ctx context.Context, e store.Entry) error {
	event, err := s.event(e)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.sink, nil)
	if err != nil {
		return err
	}
	if err := cehttp.WriteRequest(binding.WithForceBinary(ctx), binding.ToMessage(&event), req); err != nil {
		return fmt.Errorf("cannot encode the event: %w", err)
	}
	if err := s.token.Authorize(req); err != nil {
		return err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	reason, _ := io.ReadAll(io.LimitReader(resp.Body, maxReason)) // also lets the connection be used again
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("the sink answered %s: %s", resp.Status, strings.TrimSpace(string(reason)))
	}
	return nil
}
