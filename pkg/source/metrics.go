package source

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var (
	sentTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "synchronizer_source_events_sent_total",
		Help: "Objects whose event the sink has accepted, by step, kind and why the step was due.",
	}, []string{"step", "kind", "due"})
	lostTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "synchronizer_source_events_lost_total",
		Help: "Objects whose event no status acknowledged within the visibility timeout.",
	}, []string{"step", "kind"})
	rejectedTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "synchronizer_source_events_refused_total",
		Help: "Objects whose event the sink has rejected, or has not answered.",
	}, []string{"step", "kind"})
	unlistedModels = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Name: "synchronizer_source_unlisted_models",
		Help: "1 for a kind whose objects the source may not list; their steps are not woken.",
	}, []string{"kind"})
	inFlight = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Name: "synchronizer_source_events_in_flight",
		Help: "Objects whose event was sent and is not acknowledged.",
	}, []string{"step", "kind"})
)

// show sets the lane's metric. To find it takes longer than to set it.
func (l *lane) show() {
	if l.gauge == nil {
		l.gauge = inFlight.WithLabelValues(string(l.step), l.groupKind.Kind)
	}
	l.gauge.Set(float64(l.unacknowledged))
}
