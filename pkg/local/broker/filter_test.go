package broker

import (
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"go.uber.org/zap"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/eventing/pkg/eventfilter"
	"knative.dev/eventing/pkg/eventfilter/subscriptionsapi"
)

// TestFilters holds our own combinations against Knative's, which they stand in for.
func TestFilters(t *testing.T) {
	exact := func(k, v string) eventingv1.SubscriptionsAPIFilter {
		return eventingv1.SubscriptionsAPIFilter{Exact: map[string]string{k: v}}
	}
	type list = []eventingv1.SubscriptionsAPIFilter
	hit, hit2, miss, absent := exact("type", "t"), exact("step", "sync"), exact("type", "u"), exact("nothing", "x")

	cases := map[string]struct {
		reason  string
		filters list
		want    eventfilter.FilterResult
	}{
		"None":        {reason: "Nothing is asked for.", want: eventfilter.NoFilter},
		"One":         {reason: "One that matches.", filters: list{hit}, want: eventfilter.PassFilter},
		"Miss":        {reason: "One that does not.", filters: list{miss}, want: eventfilter.FailFilter},
		"Absent":      {reason: "An attribute that is not there does not match.", filters: list{absent}, want: eventfilter.FailFilter},
		"List":        {reason: "A list is about all.", filters: list{hit, miss, hit2}, want: eventfilter.FailFilter},
		"ListHit":     {reason: "All of a list match.", filters: list{hit, hit2}, want: eventfilter.PassFilter},
		"Any":         {reason: "One of any is enough.", filters: list{{Any: list{miss, hit}}}, want: eventfilter.PassFilter},
		"AnyMiss":     {reason: "None of any is not.", filters: list{{Any: list{miss, absent}}}, want: eventfilter.FailFilter},
		"AllInAny":    {reason: "They nest.", filters: list{{Any: list{{All: list{hit, miss}}, {All: list{hit, hit2}}}}}, want: eventfilter.PassFilter},
		"Not":         {reason: "The opposite.", filters: list{{Not: &miss}}, want: eventfilter.PassFilter},
		"NotAny":      {reason: "The opposite of a combination.", filters: list{{Not: &eventingv1.SubscriptionsAPIFilter{Any: list{miss, hit}}}}, want: eventfilter.FailFilter},
		"Prefix":      {reason: "The start of a value.", filters: list{{Prefix: map[string]string{"step": "sy"}}}, want: eventfilter.PassFilter},
		"Suffix":      {reason: "The end of a value.", filters: list{{Suffix: map[string]string{"step": "nk"}}}, want: eventfilter.FailFilter},
		"CESQL":       {reason: "An expression.", filters: list{{CESQL: "step = 'sync' AND type = 't'"}}, want: eventfilter.PassFilter},
		"CESQLInAny":  {reason: "An expression among others.", filters: list{{Any: list{{CESQL: "step = 'x'"}, miss}}}, want: eventfilter.FailFilter},
		"TriggerSync": {reason: "What a Trigger of models looks like.", filters: list{hit2, {Any: list{miss, hit}}}, want: eventfilter.PassFilter},
	}
	event := cloudevents.NewEvent()
	event.SetID("1")
	event.SetType("t")
	event.SetSource("/s")
	event.SetExtension("step", "sync")
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := all(materialize(tc.filters, zap.NewNop())).Filter(t.Context(), event)
			if got != tc.want {
				t.Errorf("\n%s\nwant %s, got %s", tc.reason, tc.want, got)
			}
			knatives := subscriptionsapi.CreateSubscriptionsAPIFilters(zap.NewNop(), tc.filters)
			if theirs := knatives.Filter(t.Context(), event); got != theirs {
				t.Errorf("\n%s\nKnative says %s, got %s", tc.reason, theirs, got)
			}
		})
	}
}
