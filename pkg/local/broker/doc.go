// Package broker is Knative's multi-tenant broker on in-memory channels, in one process: the real request handlers of
// Knative Eventing (broker ingress, channel receiver, dispatcher, broker filter) behind the same host names as on a
// cluster, set up from Brokers and Triggers as Knative's controllers do it. So Knative's own code decides which status
// an event gets, what is retried, what a dead letter looks like and which reply is refused. Two small parts in between are
// our own, because the race detector complains about Knative's: see channel.go and filter.go.
//
// An event goes this way, each arrow being an HTTP request:
//
//	sender -> ingress -> channel of the Broker -> filter, once per Trigger -> subscriber
//
// The channel retries, sends to the dead letter sink and puts replies back into the ingress. A Broker with the annotation
// messaging.knative.dev/async-handler: "true" answers before it delivers; other Brokers answer when all is delivered.
package broker
