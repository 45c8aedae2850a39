package outbox

import (
	"context"
	"encoding/hex"
	"fmt"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/store"
)

// partitionKey is the CloudEvents extension by which an ordered broker keeps events in order. Its value
// is the line, so that the broker keeps the same order as the outbox.
const partitionKey = "partitionkey"

// event makes the event of an entry. It is the same each time, so that a receiver can recognize an
// event that is sent twice.
func (p *Publisher) event(e store.Entry) (cloudevents.Event, error) {
	event := cloudevents.NewEvent()
	event.SetID(fmt.Sprintf("%s/%d", e.GreetingID, e.Seq))
	event.SetType(api.TypeRequested)
	event.SetSource(p.config.Source)
	event.SetSubject(e.GreetingID)
	event.SetTime(e.AcceptedAt)
	line := e.Line()
	event.SetExtension(partitionKey, hex.EncodeToString(line[:]))
	if err := event.SetData(cloudevents.ApplicationJSON, e.Request); err != nil {
		return event, err
	}
	return event, event.Validate()
}

// send sends the event of an entry. It returns nil if the sink has answered 2xx.
func (p *Publisher) send(ctx context.Context, e store.Entry) error {
	event, err := p.event(e)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, p.config.Timeout)
	defer cancel()
	return p.sink.Send(ctx, event)
}
