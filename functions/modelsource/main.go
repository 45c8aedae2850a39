// Command modelsource is the event source of all models: a small process that always runs, watches
// them, and sends a CloudEvent to $K_SINK for each step that is due. Package source says how;
// README.md is for those who operate it.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/source"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// settings are the environment variables of this program, in eventing/core/modelsource.yaml.
type settings struct {
	// Sink is set by the ContainerSource.
	Sink function.SinkSettings
	// Namespace whose models are watched; empty for all namespaces.
	Namespace string `envconfig:"WATCH_NAMESPACE"`
	// Window is how many objects of one kind and step may have an event that is not acknowledged.
	Window int `envconfig:"WINDOW" default:"64"`
	// Objects is how many objects one event is about, at most, while more are due than the window takes.
	Objects int `envconfig:"OBJECTS_PER_EVENT" default:"16"`
	// VisibilityTimeout is how long the source waits for a step's status before it sends the event
	// again. Longer than a step may take (25 s).
	VisibilityTimeout time.Duration `envconfig:"VISIBILITY_TIMEOUT" default:"30s"`
}

func main() { function.Main("modelsource", build) }

func build(ctx context.Context, env settings) (http.Handler, error) {
	if env.VisibilityTimeout <= step.Deadline {
		return nil, fmt.Errorf("VISIBILITY_TIMEOUT: expected more than %s, which is how long a step may take, got %s", step.Deadline, env.VisibilityTimeout)
	}
	if env.Window < 1 {
		return nil, fmt.Errorf("WINDOW: expected at least 1, got %d", env.Window)
	}
	if env.Objects < 1 || env.Objects > model.MaxObjects {
		return nil, fmt.Errorf("OBJECTS_PER_EVENT: expected 1 to %d, got %d", model.MaxObjects, env.Objects)
	}
	sink, err := function.NewSink(env.Sink, env.Window)
	if err != nil {
		return nil, err
	}
	config, err := function.KubeConfig()
	if err != nil {
		return nil, err
	}
	models, err := source.New(config, sink.Send, source.Options{
		Namespace: env.Namespace, Window: env.Window, Objects: env.Objects, Visibility: env.VisibilityTimeout,
	})
	if err != nil {
		return nil, err
	}
	logging.FromContext(ctx).Infow("Watching models", zap.String("namespace", env.Namespace), zap.String("sink", env.Sink.URL))
	go func() {
		if err := models.Run(ctx); err != nil {
			logging.FromContext(ctx).Errorw("The source ended", zap.Error(err))
		}
	}()
	return handler{models}, nil
}

// handler answers nothing but GET /readyz, which is function.Main's.
type handler struct{ models *source.Source }

func (handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }

// Ready implements [function.Readiness].
func (h handler) Ready() error {
	if !h.models.Ready() {
		return errors.New("not all models are read yet")
	}
	return nil
}
