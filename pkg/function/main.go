package function

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/kelseyhightower/envconfig"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"knative.dev/pkg/logging"
	"knative.dev/pkg/signals"
)

// Settings are the environment variables of every program.
type Settings struct {
	// Port to listen on. Knative Serving sets it.
	Port int `envconfig:"PORT" default:"8080"`
	// Address to listen on. Default: all of them, as a container has to.
	Address string `envconfig:"LISTEN_ADDRESS"`
	// LogLevel is debug, info, warn or error.
	LogLevel string `envconfig:"LOG_LEVEL" default:"info"`
	// DrainTimeout is how long requests under way may go on after SIGTERM. Keep it below the pod's
	// grace period, which is the timeoutSeconds of a Knative Service.
	DrainTimeout time.Duration `envconfig:"DRAIN_TIMEOUT" default:"27s"`
	// Metrics are served at /metrics. Switch them off where everybody can reach the port.
	Metrics bool `envconfig:"METRICS" default:"true"`
}

// Env reads settings from the environment by envconfig's tags. The error names the variable. [Main]
// reads a program's own settings with it.
func Env[T any]() (T, error) {
	var env T
	err := envconfig.Process("", &env)
	return env, err
}

// KubeConfig says how to reach the Kubernetes API: by the service account in a pod, otherwise by
// the file that $KUBECONFIG names. The client is not throttled: fairness is the API server's
// business, and a function that was started for one event must not wait for a token bucket.
func KubeConfig() (*rest.Config, error) {
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		clientcmd.NewDefaultClientConfigLoadingRules(), &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("finding the Kubernetes API (in a pod, or by KUBECONFIG): %w", err)
	}
	cfg.QPS = -1
	return cfg, nil
}

// Readiness is an optional ability of the handler that a program serves. Without it a program is
// ready from when it listens until it drains.
type Readiness interface {
	// Ready is asked at each GET /readyz. An error says what the program waits for, and is the text
	// of the answer 503.
	Ready() error
}

// Drainer is an optional ability of the handler that a program serves.
type Drainer interface {
	// Drain is called after the last request was answered, and ends what the program has begun and
	// nobody waits for. The program does not wait longer than the context.
	Drain(ctx context.Context)
}

// LastTimeout is how long a [Drainer] may take, after DRAIN_TIMEOUT.
const LastTimeout = 5 * time.Second

// Main runs a program until SIGTERM or SIGINT and ends the process: with 0 after a clean end, with
// 1 when the set-up failed or the port is taken.
//
// build makes the program's handler from its settings, a struct that [Env] reads (struct{} for a
// program without settings). Its context carries the logger and ends with the signal. The handler
// may have [Readiness] and be a [Drainer].
func Main[S any](name string, build func(ctx context.Context, settings S) (http.Handler, error)) {
	ctx := signals.NewContext()
	env, err := Env[Settings]()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
	logger, _ := logging.NewLogger("", env.LogLevel)
	logger = logger.Named(name)
	ctx = logging.WithLogger(ctx, logger)
	err = run(ctx, env, func(ctx context.Context) (http.Handler, error) {
		settings, err := Env[S]()
		if err != nil {
			return nil, err
		}
		return build(ctx, settings)
	})
	if err != nil {
		logger.Errorw("Ended with an error", zap.Error(err))
	}
	_ = logger.Sync() // Standard error may not be syncable; nothing to do about it.
	if err != nil {
		os.Exit(1)
	}
}

func run(ctx context.Context, env Settings, build func(ctx context.Context) (http.Handler, error)) error {
	handler, err := build(ctx)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(env.Address, strconv.Itoa(env.Port)))
	if err != nil {
		return fmt.Errorf("listening on LISTEN_ADDRESS and PORT: %w", err)
	}
	return serve(ctx, listener, env, handler)
}

// routes puts the program's handler beside the paths of the platform. A program that is stopping is
// alive, but not ready.
func routes(handler http.Handler, stopping *atomic.Bool, metrics bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if stopping.Load() {
			http.Error(w, "stopping", http.StatusServiceUnavailable)
			return
		}
		if r, ok := handler.(Readiness); ok {
			if err := r.Ready(); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	if metrics {
		mux.Handle("GET /metrics", promhttp.Handler())
	}
	mux.Handle("/", handler)
	return mux
}

// serve serves until the context ends, then drains.
func serve(ctx context.Context, listener net.Listener, env Settings, handler http.Handler) error {
	var stopping atomic.Bool
	server := Server(routes(handler, &stopping, env.Metrics), Limits{})
	// Requests under way keep the values of the context but outlive the signal: that is what draining
	// means.
	server.BaseContext = func(net.Listener) context.Context { return context.WithoutCancel(ctx) }
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	logging.FromContext(ctx).Infow("Listening", zap.Stringer("address", listener.Addr()))
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	stopping.Store(true)
	logging.FromContext(ctx).Infow("Draining", zap.Duration("timeout", env.DrainTimeout))
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), env.DrainTimeout)
	defer cancel()
	err := server.Shutdown(ending)
	if err != nil {
		err = errors.Join(fmt.Errorf("requests were still under way after %s", env.DrainTimeout), server.Close())
	}
	if d, ok := handler.(Drainer); ok {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), LastTimeout)
		defer cancel()
		d.Drain(last)
	}
	return err
}
