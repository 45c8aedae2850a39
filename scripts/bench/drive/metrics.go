package drive

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Requests counts what the API server has been asked so far, by verb, about the API groups that count.
func (m *Models) Requests(ctx context.Context, count func(group string) bool) (map[string]float64, error) {
	raw, err := m.REST.Get().AbsPath("/metrics").Do(ctx).Raw()
	if err != nil {
		return nil, fmt.Errorf("the metrics of the API server: %w", err)
	}
	return countRequests(bytes.NewReader(raw), count)
}

// Parse reads metrics by their names.
func Parse(metrics io.Reader) (map[string]*dto.MetricFamily, error) {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	return parser.TextToMetricFamilies(metrics)
}

// countRequests counts the requests for objects: no watches, which stay open, nothing that is about the API itself.
func countRequests(metrics io.Reader, count func(group string) bool) (map[string]float64, error) {
	families, err := Parse(metrics)
	if err != nil {
		return nil, err
	}
	family := families["apiserver_request_total"]
	if family == nil {
		return nil, fmt.Errorf("the metrics of the API server have no apiserver_request_total")
	}
	counts := map[string]float64{}
	for _, m := range family.Metric {
		label := map[string]string{}
		for _, l := range m.Label {
			label[l.GetName()] = l.GetValue()
		}
		switch {
		case label["verb"] == "WATCH" || label["verb"] == "CONNECT" || label["resource"] == "":
		case !count(label["group"]):
		default:
			counts[strings.ToUpper(label["verb"])] += m.GetCounter().GetValue()
		}
	}
	return counts, nil
}
