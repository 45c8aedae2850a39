package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/local"
	"github.com/xos-knative/synchronizer/pkg/local/collector"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi"
	"github.com/xos-knative/synchronizer/scripts/bench/drive"
)

// children are what this program also is, by its first argument: parts that get a process of their own.
var children = map[string]func(ctx context.Context, args []string) error{"api": runAPI, "runner": runRunner}

const (
	// pullPath is where the runner passes requests on to function pull.
	pullPath = "/pull"
	// etcdPath is where the API says at which address its etcd is.
	etcdPath = "/etcd"
)

// runAPI is the API server, with the garbage collector that every cluster has.
func runAPI(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("api", flag.ExitOnError)
	dir := flags.String("dir", "", "data")
	crds := flags.String("crds", "", "folders with definitions")
	_ = flags.Parse(args)
	api, err := kubeapi.Start(ctx, kubeapi.Options{Dir: *dir, CRDs: strings.Split(*crds, ",")})
	if err != nil {
		return err
	}
	garbage, err := collector.Start(api.Config())
	if err != nil {
		return errors.Join(err, api.Stop())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+etcdPath, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, api.EtcdURL()) })
	if err = api.WriteKubeconfig(os.Getenv("KUBECONFIG")); err == nil {
		err = serve(ctx, mux)
	}
	garbage.Stop()
	return errors.Join(err, api.Stop())
}

// runRunner is the local runner: Broker, Triggers and activators, over the API of KUBECONFIG. It starts the model source and
// the functions, and says what runs.
func runRunner(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("runner", flag.ExitOnError)
	o := local.Options{Env: []string{"GREETER_URL=" + os.Getenv("GREETER_URL")}, Out: os.Stdout}
	list := func(to *[]string) func(string) error {
		return func(names string) error { *to = strings.Split(names, ","); return nil }
	}
	flags.StringVar(&o.Root, "root", "", "project")
	flags.StringVar(&o.Dir, "dir", "", "data")
	flags.StringVar(&o.Bin, "bin", "", "programs")
	flags.DurationVar(&o.Idle, "idle", time.Hour, "how long functions stay")
	flags.Func("only", "synchronizers of the project", list(&o.Only))
	flags.Func("add", "other synchronizers", list(&o.Add))
	flags.Func("without", "resources to leave out", list(&o.Without))
	_ = flags.Parse(args)
	var err error
	if o.API, err = clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG")); err != nil {
		return err
	}
	system, err := local.Start(ctx, o)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /programs", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(system.Programs())
	})
	mux.Handle("POST "+pullPath, &httputil.ReverseProxy{Transport: system.Client().Transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL = &url.URL{Scheme: "http", Host: "pull." + drive.Namespace + ".svc.cluster.local", Path: "/"}
		r.Out.Host = r.Out.URL.Host
	}})
	return errors.Join(serve(ctx, mux), system.Stop())
}

// serve says that the child is ready, until the driver stops it.
func serve(ctx context.Context, mux *http.ServeMux) error {
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", os.Getenv("PORT")))
	if err != nil {
		return err
	}
	server := function.Server(mux, function.Limits{})
	go func() { _ = server.Serve(l) }()
	<-ctx.Done()
	return server.Close()
}
